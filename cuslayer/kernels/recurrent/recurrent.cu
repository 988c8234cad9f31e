// Populations of neurons of any kind, with a dense layer or a convolution from their own spikes to themselves.
//
//   forward    z[t] = x[t] + sum over lags l, spikes i of step t - delay - l of w[l, i],   u, s: the neurons for z
//   backward   g_s[t] = g[t] + sum over l of w[l] y[t + delay + l],   y[t]: the gradient of z[t] by g_s
//
// A block computes one sample, step by step; a thread has the neurons threadIdx.x, threadIdx.x + blockDim.x, ...
// Forward, the ballots of the warps are the bit masks of a step's spikes, which stay in shared memory for all lags:
// every thread visits the bits that are set, or those in its window, and reads its column of the weights, neighbouring
// threads neighbouring columns. Backward, the errors of step t + delay are copied to shared memory, then every thread
// multiplies its column of the transposed weights; for a convolution, every thread reads the errors in its window. A
// barrier ends each step. All other memory is a thread's own: states are in global memory, since a thread may have several
// neurons.
//
// Layout: arrays are (steps, samples, neurons), C-contiguous.
// Precision: `real` throughout; compiled without fused multiply-add, forward equals the CPU's to the bit. Backward differs
// by the rounding of exp and of sums. States and gradients under LEAST_STATE are 0.
// Twins: kernels/recurrent/cpu.py. Tests: tests/kernels/test_twins_recurrent.py.

#include "images.cuh"
#include "kind.cuh"

// Threads of a block at most.
constexpr int THREADS = 512;
constexpr unsigned ALL_LANES = 0xFFFFFFFF;
constexpr int LANES = 32;
// The neighbouring rows of weights that are added to each other first: NEIGHBOURS of host/vectors.py.
constexpr unsigned NEIGHBOURS = 6;

// Where a thread is: in its sample, in a row of columns, in time.
struct Place {
    long long columns, column, step, at;
    int neuron;
};

// The spikes, as packed rows and as packed columns.
struct Fired {
    unsigned *rows;     // (steps, samples, words of neurons)
    unsigned *columns;  // (neurons, samples, words of steps)
    long long samples, time_words;

    __device__ __forceinline__ unsigned *word(const Place &place, long long step) const
    {
        return columns + (place.neuron * samples + blockIdx.x) * time_words + step / LANES;
    }

    __device__ __forceinline__ void write(const Place &place, bool fires) const
    {
        unsigned *const at = word(place, place.step);
        const int bit = place.step % LANES;
        *at = bit == 0 ? fires : *at | unsigned(fires) << bit;
    }

    __device__ __forceinline__ bool at(const Place &place, long long step) const
    {
        return *word(place, step) >> step % LANES & 1;
    }
};

// The neurons and their states. A call goes on from the states that the call before has left; backward, from the gradients
// of the call after it. Else it begins with 0.
struct Population {
    const Numbers &numbers; // constants of all neurons
    const real *constants;  // (constants, period), of each neuron
    real *states;           // (states, samples, neurons); backward, their gradients
    const real *first;      // backward: (states, samples, neurons), the states before the first step, if start > 0
    const bool *earlier;    // (past, samples, neurons), spikes before the first step
    long long past;         // steps of them
    long long rows;         // steps of z before the first step; backward, of `again` after the last
    long long start;        // steps of earlier calls
    bool goes_on;           // whether the call goes on
    long long steps;
    int saves;
    bool graded;            // whether a spike carries the potential
    real *sums;             // (constants, samples, neurons), gradients of the constants; null for none
};

// Returns a state; `begins` says whether the step is the first of a sweep.
__device__ __forceinline__ real state_of(const Population &of, int number, const Place &place, bool begins)
{
    return begins && !of.goes_on ? real(0) : of.states[number * place.columns + place.column];
}

#include "recurrent_synapses.cuh"
#include "recurrent_neurons.cuh"

extern __shared__ __align__(16) unsigned char shared[];

extern "C" __global__ __launch_bounds__(THREADS, 1) void recurrent(
    const real *__restrict__ x,          // (steps, samples, neurons), weighted input from other layers
    const real *__restrict__ w,          // weights of what each neuron sends; see Synapse
    const real *__restrict__ constants,  // (constants, period), of each neuron
    real *states,                        // (states, samples, neurons), overwritten
    const bool *__restrict__ earlier,    // (past, samples, neurons), spikes before the first step
    real *u,                             // (steps, samples, neurons), potential, written
    unsigned *fired,                     // (steps, samples, words of neurons), spikes, written
    unsigned *by_neuron,                 // (neurons, samples, words of steps), spikes, written
    real *z,                             // (rows + steps, samples, neurons), weighted inputs, whose first rows come from
                                         // earlier calls; empty if no later step uses them
    real *saved,                         // (saves, steps, samples, neurons), values for backward, written
    long long steps,                     // time steps
    long long samples,                   // samples of the batch
    long long neurons,                   // neurons of the population
    long long delay,                     // steps until a spike arrives, by lag 0
    long long lags,                      // lags
    int groups,                          // of a convolution
    long long past,                      // steps of earlier spikes
    long long rows,                      // steps of z before the first
    long long start,                     // steps of earlier calls
    bool goes_on,                        // whether the call goes on from states
    int saves,                           // how many values are saved
    const Map frame,                     // of a convolution
    const Window window,                 // of a convolution, or of 0 x 0 taps: a dense layer
    const __grid_constant__ Numbers numbers)  // constants of all neurons
{
    const Population of{
        numbers, constants, states, nullptr, earlier, past, rows, start, goes_on, steps, saves, false, nullptr};
    const Fired spikes{fired, by_neuron, samples, (steps + LANES - 1) / LANES};
    const Synapse synapse{w, neurons, lags, frame, window, groups};
    unsigned *const words = reinterpret_cast<unsigned *>(shared);
    const int count = int((neurons + LANES - 1) / LANES);
    const long long ring = delay + lags;
    for (long long i = threadIdx.x; i < ring * count; i += blockDim.x)
        words[i] = 0;
    __syncthreads();
    const long long n = blockIdx.x;
    for (long long back = 1; back < ring && back <= past; ++back)
        for (int first = 0; first < count * LANES; first += blockDim.x) {
            const int j = first + threadIdx.x;
            const bool fired_then = j < neurons && earlier[((past - back) * samples + n) * neurons + j];
            const unsigned ballot = __ballot_sync(ALL_LANES, fired_then);
            if (j % LANES == 0 && j < count * LANES)
                words[(ring - back) * count + j / LANES] = ballot;
        }
    __syncthreads();
    for (long long t = 0; t < steps; ++t) {
        unsigned *const now = words + t % ring * count;
        for (int first = 0; first < count * LANES; first += blockDim.x) {
            const int j = first + threadIdx.x;
            bool fires = false;
            if (j < neurons) {
                const long long column = n * neurons + j, columns = samples * neurons;
                const Place place{columns, column, t, t * columns + column, j};
                const real given = x[place.at] + synapse.sent(words, t + lags, ring, count, j);
                u[place.at] = neuron_forward(of, spikes, z, saved, place, given, fires);
                spikes.write(place, fires);
            }
            const unsigned ballot = __ballot_sync(ALL_LANES, fires);
            if (j % LANES == 0 && j < count * LANES) {
                now[j / LANES] = ballot;
                spikes.rows[(t * samples + n) * count + j / LANES] = ballot;
            }
        }
        __syncthreads();
    }
}

template <bool exact>
__device__ __forceinline__ void run_backward(
    const Population &of, const Synapse &synapse, const Slope &slope, const real *g, const real *u,
    const real *saved, real *again, real *y, long long samples, long long delay)
{
    real *const errors = reinterpret_cast<real *>(shared);
    const long long n = blockIdx.x, neurons = synapse.neurons, lags = synapse.lags, columns = samples * neurons;
    for (long long t = of.steps - 1; t >= 0; --t)
        for (long long lag = 0; lag == 0 || lag < lags; ++lag) {
            const long long late = t + delay + lag;
            const bool reached = lag < lags && (of.goes_on || late < of.steps);
            const real *const later = y + late * columns + n * neurons;
            if (reached) {
                for (int j = threadIdx.x; j < neurons && synapse.dense(); j += blockDim.x)
                    errors[j] = later[j];
                __syncthreads();
            }
            for (int j = threadIdx.x; j < neurons; j += blockDim.x) {
                const long long column = n * neurons + j;
                const Place place{columns, column, t, t * columns + column, j};
                real total = lag ? y[place.at] : real(0);
                if (reached && synapse.dense())
                    synapse.add_rows(total, errors, lag, j);
                else if (reached)
                    synapse.add_taps(total, later, j);
                if (lag >= lags - 1)
                    total = neuron_backward<exact>(of, slope, u, saved, again, place, total + g[place.at]);
                y[place.at] = total;
            }
            if (reached)
                __syncthreads();
        }
}

extern "C" __global__ __launch_bounds__(THREADS, 1) void recurrent_adjoint(
    const real *__restrict__ g,          // (steps, samples, neurons), gradient of the spikes
    const real *__restrict__ u,          // (steps, samples, neurons), potential
    const real *__restrict__ w,          // weights of what each neuron gets; see Synapse
    const real *__restrict__ saved,      // (saves, steps, samples, neurons), values of forward
    const real *__restrict__ constants,  // (constants, period), of each neuron
    real *states,                        // (states, samples, neurons), overwritten
    const real *__restrict__ first,      // (states, samples, neurons), the states before the first step, if start > 0
    real *again,                         // (values, steps + rows, samples, neurons), what earlier steps use again, whose
                                         // last rows come from later calls
    real *y,                             // (steps + late, samples, neurons), gradient of the weighted input, read back;
                                         // the last rows are 0, or come from later calls
    real *sums,                          // (constants, samples, neurons), gradients of the constants, written
    long long steps,                     // time steps
    long long samples,                   // samples of the batch
    long long neurons,                   // neurons of the population
    long long delay,                     // steps until a spike arrives, by lag 0
    long long lags,                      // lags
    int groups,                          // of a convolution
    long long late,                      // delay, at most steps; if the call goes on, delay + lags - 1
    long long rows,                      // steps of `again` after the last
    long long start,                     // steps of earlier calls
    bool goes_on,                        // whether the call goes on from gradients of states
    int saves,                           // how many values are saved
    bool trained,                        // whether sums are written
    bool exact,                          // whether all paths through a spike are included
    bool graded,                         // whether a spike carries the potential
    const Map frame,                     // of a convolution
    const Window window,                 // of a convolution, or of 0 x 0 taps: a dense layer
    const __grid_constant__ Numbers numbers,  // constants of all neurons
    const __grid_constant__ Surrogate rho)    // the surrogate
{
    for (long long t = steps; t < steps + late && !goes_on; ++t)
        for (int j = threadIdx.x; j < neurons; j += blockDim.x)
            y[(t * samples + blockIdx.x) * neurons + j] = 0;
    const Population of{numbers, constants, states, first, nullptr, 0, rows, start, goes_on, steps, saves, graded,
                        trained ? sums : nullptr};
    const Synapse synapse{w, neurons, lags, frame, window, groups};
    const Slope slope{rho};
    if (exact)
        run_backward<true>(of, synapse, slope, g, u, saved, again, y, samples, delay);
    else
        run_backward<false>(of, synapse, slope, g, u, saved, again, y, samples, delay);
}

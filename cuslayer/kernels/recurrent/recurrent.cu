// Populations with a dense layer from their own spikes to themselves, forward.
//
//   recurrent_KIND   z[t] = x[t] + sum over the spikes i of step t - delay of w[i],   u, s: the neurons for z
//
// for KIND srm, leaky or adaptive: the equations of kernels/KIND/KIND.cu.
//
// A block computes one sample, step by step; a thread has the neurons threadIdx.x, threadIdx.x + blockDim.x, ... The
// ballots of the warps are the words of a step's spikes, which stay in shared memory for `delay` steps: every thread
// walks the bits that are set, and reads its column of the weights, neighbouring threads neighbouring columns. A barrier
// ends each step. All other memory is a thread's own: states are in global memory, since a thread may have several
// neurons.
//
// Layout: arrays are (steps, samples, neurons), C-contiguous.
// Precision: `real` throughout; compiled without fused multiply-add, u, s, h and r equal the CPU's to the bit. States under
// LEAST_STATE are 0.
// Twins: kernels/recurrent/cpu.py. Tests: tests/kernels/test_twins_recurrent.py.

#include "population.cuh"

extern __shared__ __align__(16) unsigned char shared[];

constexpr unsigned ALL_LANES = 0xFFFFFFFF;
constexpr int LANES = 32;

// Adds rows of the weights in fours, as `gather` of kernels/dense/cpu.py does: the sum of the rows of the bits that are
// set in `count` words.
__device__ __forceinline__ real sum_of_rows(const unsigned *words, int count, const real *w, long long neurons, int j)
{
    real total = 0, taken[4];
    int held = 0;
    for (int word = 0; word < count; ++word)
        for (unsigned bits = words[word]; bits; bits &= bits - 1) {
            const real value = w[(word * LANES + __ffs(bits) - 1) * neurons + j];
            taken[0] = held == 0 ? value : taken[0];
            taken[1] = held == 1 ? value : taken[1];
            taken[2] = held == 2 ? value : taken[2];
            taken[3] = held == 3 ? value : taken[3];
            if (++held == 4) {
                total += (taken[0] + taken[1]) + (taken[2] + taken[3]);
                held = 0;
            }
        }
    if (held > 0)
        total += taken[0];
    if (held > 1)
        total += taken[1];
    if (held > 2)
        total += taken[2];
    return total;
}

template <typename Neurons>
__device__ __forceinline__ void run_forward(
    const Neurons &kind, const real *x, const real *w, real *u, bool *s, long long steps, long long samples,
    long long neurons, long long delay)
{
    unsigned *const words = reinterpret_cast<unsigned *>(shared);
    const int count = int((neurons + LANES - 1) / LANES);
    for (long long i = threadIdx.x; i < (delay + 1) * count; i += blockDim.x)
        words[i] = 0;
    __syncthreads();
    const long long n = blockIdx.x;
    for (long long t = 0; t < steps; ++t) {
        const unsigned *const sent = words + (t + 1) % (delay + 1) * count;  // of step t - delay
        unsigned *const now = words + t % (delay + 1) * count;
        for (int first = 0; first < count * LANES; first += blockDim.x) {
            const int j = first + threadIdx.x;
            bool fires = false;
            if (j < neurons) {
                const long long column = n * neurons + j, columns = samples * neurons;
                const Place place{columns, column, t, t * columns + column, j};
                const real given = x[place.at] + sum_of_rows(sent, count, w, neurons, j);
                const real value = kind.forward(place, given, fires);
                u[place.at] = value;
                s[place.at] = fires;
            }
            const unsigned ballot = __ballot_sync(ALL_LANES, fires);
            if (j % LANES == 0 && j < count * LANES)
                now[j / LANES] = ballot;
        }
        __syncthreads();
    }
}

struct Srm {
    Filter response, refractory;
    real *z;
    bool *s;
    long long cut, ref_cut;
    real theta;

    __device__ __forceinline__ real forward(const Place &place, real given, bool &fires) const
    {
        const bool begins = place.step == 0;
        Recurrence f = response.load(place, begins), nu = refractory.load(place, begins);
        const real leaving = place.step >= cut ? z[place.at - cut * place.columns] : real(0);
        const real old_spike = place.step >= ref_cut && s[place.at - ref_cut * place.columns] ? real(1) : real(0);
        const real value = f.output(leaving) + nu.output(old_spike);
        fires = value >= theta;
        f.accept(given, leaving);
        nu.accept(fires, old_spike);
        z[place.at] = given;
        response.store(place, f);
        refractory.store(place, nu);
        return value;
    }
};

struct Leaky {
    const real *keep;
    real *states;
    long long neurons;
    real theta, share, drop;

    __device__ __forceinline__ real forward(const Place &place, real given, bool &fires) const
    {
        const bool begins = place.step == 0;
        const real current = flushed(keep[place.neuron] * state_of(states, 0, place, begins) + given);
        const real value = flushed(keep[neurons + place.neuron] * state_of(states, 1, place, begins) + current);
        fires = value >= theta;
        states[place.column] = current;
        states[place.columns + place.column] = fires ? share * value - drop : value;
        return value;
    }
};

struct Adaptive {
    const real *keep;
    real *states, *h, *r;
    long long neurons;
    bool saved;
    real theta, rise, scale;

    __device__ __forceinline__ real kept(int number, const Place &place, bool begins) const
    {
        return keep[number * neurons + place.neuron] * state_of(states, number, place, begins);
    }

    __device__ __forceinline__ real forward(const Place &place, real given, bool &fires) const
    {
        const bool begins = place.step == 0;
        const real current = flushed(kept(0, place, begins) + given);
        const real voltage = flushed(kept(1, place, begins) + current);
        const real above = flushed(kept(2, place, begins)), before = flushed(kept(3, place, begins));
        const real value = voltage - before - above;
        fires = value >= theta;
        states[place.column] = current;
        states[place.columns + place.column] = voltage;
        states[2 * place.columns + place.column] = fires ? above + rise : above;
        states[3 * place.columns + place.column] = fires ? before + scale * (theta + above) : before;
        if (saved) {
            h[place.at] = above;
            r[place.at] = before;
        }
        return value;
    }
};

extern "C" __global__ __launch_bounds__(THREADS) void recurrent_srm(
    const real *__restrict__ x,  // (steps, samples, neurons), weighted input from other layers
    const real *__restrict__ w,  // (neurons, neurons), weights of what each neuron sends
    real *states,                // (4, samples, neurons), scratch
    real *z,                     // (steps, samples, neurons), weighted input, scratch
    real *u,                     // (steps, samples, neurons), potential, written
    bool *s,                     // (steps, samples, neurons), spikes, written and read back
    long long steps,             // time steps
    long long samples,           // samples of the batch
    long long neurons,           // neurons of the population
    long long delay,             // steps until a spike arrives
    real theta,                  // threshold
    real decay,                  // exp(-dt / tau_sr)
    real gain,                   // amplitude e dt / tau_sr
    long long cut,               // steps until an input leaves the response; none if >= steps
    real cut_p,                  // decay^cut
    real cut_q,                  // cut decay^cut
    real ref_decay,              // exp(-dt / tau_ref)
    real ref_gain,               // amplitude e dt / tau_ref, negative
    long long ref_cut,           // steps until a spike leaves the refractory response; none if >= steps
    real ref_cut_p,              // ref_decay^ref_cut
    real ref_cut_q)              // ref_cut ref_decay^ref_cut
{
    const Filter response{decay, gain, cut_p, cut_q, states};
    const Filter refractory{ref_decay, ref_gain, ref_cut_p, ref_cut_q, states + 2 * samples * neurons};
    run_forward(
        Srm{response, refractory, z, s, cut, ref_cut, theta}, x, w, u, s, steps, samples, neurons, delay);
}

extern "C" __global__ __launch_bounds__(THREADS) void recurrent_leaky(
    const real *__restrict__ x,     // (steps, samples, neurons), weighted input from other layers
    const real *__restrict__ w,     // (neurons, neurons), weights of what each neuron sends
    const real *__restrict__ keep,  // (2, neurons), shares of current and voltage that a step keeps
    real *states,                   // (2, samples, neurons), scratch
    real *u,                        // (steps, samples, neurons), voltage before the reset, written
    bool *s,                        // (steps, samples, neurons), spikes, written
    long long steps,                // time steps
    long long samples,              // samples of the batch
    long long neurons,              // neurons of the population
    long long delay,                // steps until a spike arrives
    real theta,                     // threshold
    real share,                     // of the voltage that a spike leaves
    real drop)                      // what it takes from it
{
    const Leaky kind{keep, states, neurons, theta, share, drop};
    run_forward(kind, x, w, u, s, steps, samples, neurons, delay);
}

extern "C" __global__ __launch_bounds__(THREADS) void recurrent_adaptive(
    const real *__restrict__ x,     // (steps, samples, neurons), weighted input from other layers
    const real *__restrict__ w,     // (neurons, neurons), weights of what each neuron sends
    const real *__restrict__ keep,  // (4, neurons), shares of i, v, h and r that a step keeps
    real *states,                   // (4, samples, neurons), scratch
    real *u,                        // (steps, samples, neurons), potential, written
    bool *s,                        // (steps, samples, neurons), spikes, written
    real *h,                        // (steps, samples, neurons), rise of the threshold, written
    real *r,                        // (steps, samples, neurons), refractory state, written
    long long steps,                // time steps
    long long samples,              // samples of the batch
    long long neurons,              // neurons of the population
    long long delay,                // steps until a spike arrives
    bool saved,                     // whether h and r are written; else they are not accessed
    real theta,                     // threshold without spikes
    real rise,                      // what a spike adds to it
    real scale)                     // what a spike adds to r, in thresholds
{
    const Adaptive kind{keep, states, h, r, neurons, saved, theta, rise, scale};
    run_forward(kind, x, w, u, s, steps, samples, neurons, delay);
}

// Populations of neurons of any kind, with a dense layer from their own spikes to themselves.
//
//   forward    z[t] = x[t] + sum over the spikes i of step t - delay of w[i],   u, s: the neurons for z
//   backward   g_s[t] = g[t] + w y[t + delay],   y[t]: the gradient of z[t] by g_s, from step to step
//
// A block computes one sample, step by step; a thread has the neurons threadIdx.x, threadIdx.x + blockDim.x, ...
// Forward, the ballots of the warps are the bit masks of a step's spikes, which stay in shared memory for `delay` steps:
// every thread visits the bits that are set, and reads its column of the weights, neighbouring threads neighbouring
// columns. Backward, the errors of step t + delay are copied to shared memory, then every thread multiplies its column of
// the transposed weights. A barrier ends each step. All other memory is a thread's own: states are in global memory, since
// a thread may have several neurons.
//
// Layout: arrays are (steps, samples, neurons), C-contiguous.
// Precision: `real` throughout; compiled without fused multiply-add, forward equals the CPU's to the bit. Backward differs
// by the rounding of exp and of sums. States and gradients under LEAST_STATE are 0.
// Twins: kernels/recurrent/cpu.py. Tests: tests/kernels/test_twins_recurrent.py.

// Threads of a block at most.
constexpr int THREADS = 512;

// Where a thread is: in its sample, in a row of columns, in time.
struct Place {
    long long columns, column, step, at;
    int neuron;
};

// Returns a state, 0 at the first step of a sweep.
__device__ __forceinline__ real state_of(const real *states, int number, const Place &place, bool begins)
{
    return begins ? real(0) : states[number * place.columns + place.column];
}

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
    const Neurons &kind, const real *x, const real *w, real *u, long long steps, long long samples, long long neurons,
    long long delay)
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
                kind.write(place, fires);
            }
            const unsigned ballot = __ballot_sync(ALL_LANES, fires);
            if (j % LANES == 0 && j < count * LANES) {
                now[j / LANES] = ballot;
                kind.write_mask((t * samples + n) * count + j / LANES, ballot);
            }
        }
        __syncthreads();
    }
}

template <typename Neurons>
__device__ __forceinline__ void run_backward(
    const Neurons &kind, const real *g, const real *u, const real *w, real *y, long long steps, long long samples,
    long long neurons, long long delay)
{
    real *const errors = reinterpret_cast<real *>(shared);
    const long long n = blockIdx.x, columns = samples * neurons;
    for (long long t = steps - 1; t >= 0; --t) {
        const bool reached = t + delay < steps;
        if (reached) {
            for (int j = threadIdx.x; j < neurons; j += blockDim.x)
                errors[j] = y[(t + delay) * columns + n * neurons + j];
            __syncthreads();
        }
        for (int j = threadIdx.x; j < neurons; j += blockDim.x) {
            real total = 0;
            if (reached)
                for (int i = 0; i < neurons; ++i)
                    total += errors[i] * w[i * neurons + j];
            const long long column = n * neurons + j;
            const Place place{columns, column, t, t * columns + column, j};
            y[place.at] = kind.backward(place, total + g[place.at], u[place.at]);
        }
        if (reached)
            __syncthreads();
    }
}

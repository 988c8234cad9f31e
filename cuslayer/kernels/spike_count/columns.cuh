// Columns of the output of a network, for spike_count.cu and score.cu: booleans or numbers (steps, columns) with columns =
// samples x neurons, or packed spikes. A block has 32 columns, a lane each.

constexpr int LANES = 32;
constexpr unsigned ALL_LANES = 0xFFFFFFFF;

// One signal of a matrix (steps, columns): x(t) is its value at a step.
template <typename Number>
struct Column {
    const Number *first;
    long long columns;

    __device__ __forceinline__ Column(const Number *x, long long columns, long long m) : first(x + m), columns(columns) {}
    __device__ __forceinline__ Number operator()(long long t) const { return first[t * columns]; }
};

// One neuron of packed spikes (steps, samples, words of a sample): bit b of word w is neuron 32 w + b.
struct PackedColumn {
    const unsigned *first;
    long long words;
    int bit;

    __device__ __forceinline__ PackedColumn(
        const unsigned *x, long long samples, long long neurons, long long sample, long long neuron)
        : words(samples * ((neurons + 31) / 32)), bit(int(neuron % 32))
    {
        first = x + sample * ((neurons + 31) / 32) + neuron / 32;
    }
    __device__ __forceinline__ bool operator()(long long t) const { return first[t * words] >> bit & 1; }
};

// The column of a thread; the first one where it has none.
struct Place {
    bool exists;
    long long m;
    long long sample;
    long long neuron;

    __device__ __forceinline__ Place(long long samples, long long neurons)
    {
        const long long here = blockIdx.x * (long long)LANES + threadIdx.x;
        exists = here < samples * neurons;
        m = exists ? here : 0;
        sample = exists ? here / neurons : 0;
        neuron = exists ? here % neurons : 0;
    }
};

// The sum over a warp, in a fixed order; lane 0 has it.
__device__ __forceinline__ double warp_sum(double value)
{
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        value += __shfl_down_sync(ALL_LANES, value, distance);
    return value;
}

// The output of a network, for spike_count.cu and score.cu: booleans or numbers (steps, columns) with columns = samples x
// neurons, or packed spikes (steps, samples, words of a sample), of which bit b of word w is neuron 32 w + b. A block has 32
// columns, a lane each. optim.cu has the sum over a warp from here.

constexpr int LANES = 32;
constexpr unsigned ALL_LANES = 0xFFFFFFFF;

// Which array has an output; the two others are any, not accessed. kernels/cuda/launch.py has the same numbers.
enum Form { SPIKES, NUMBERS, PACKED };

// The column of a thread; the first one where it has none.
struct Column {
    bool exists;
    long long m;
    long long sample;
    long long neuron;
    int form;
    const void *first;  // its first element
    long long row;      // elements of a row

    __device__ __forceinline__ Column(
        int form, const bool *spikes, const real *numbers, const unsigned *packed, long long samples, long long neurons)
        : form(form)
    {
        const long long here = blockIdx.x * (long long)LANES + threadIdx.x, words = (neurons + 31) / 32;
        exists = here < samples * neurons;
        m = exists ? here : 0;
        sample = exists ? here / neurons : 0;
        neuron = exists ? here % neurons : 0;
        first = form == PACKED ? (const void *)(packed + sample * words + neuron / 32)
                               : form == NUMBERS ? (const void *)(numbers + m) : spikes + m;
        row = samples * (form == PACKED ? words : neurons);
    }

    // Reads the wanted ones of the steps t, t + 1, ..., and 0 for the others. All loads begin before the first one ends.
    template <int count, typename Wanted>
    __device__ __forceinline__ void read(real (&values)[count], long long t, Wanted wanted) const
    {
        if (form == PACKED) {
            unsigned words[count];
#pragma unroll
            for (int i = 0; i < count; ++i)
                words[i] = wanted(t + i) ? static_cast<const unsigned *>(first)[(t + i) * row] : 0;
#pragma unroll
            for (int i = 0; i < count; ++i)
                values[i] = words[i] >> (neuron % 32) & 1;
        } else if (form == NUMBERS) {
#pragma unroll
            for (int i = 0; i < count; ++i)
                values[i] = wanted(t + i) ? static_cast<const real *>(first)[(t + i) * row] : real(0);
        } else {
            bool fired[count];
#pragma unroll
            for (int i = 0; i < count; ++i)
                fired[i] = wanted(t + i) ? static_cast<const bool *>(first)[(t + i) * row] : false;
#pragma unroll
            for (int i = 0; i < count; ++i)
                values[i] = fired[i];
        }
    }
};

// The sum over a warp, in a fixed order; lane 0 has it.
__device__ __forceinline__ double warp_sum(double value)
{
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        value += __shfl_down_sync(ALL_LANES, value, distance);
    return value;
}

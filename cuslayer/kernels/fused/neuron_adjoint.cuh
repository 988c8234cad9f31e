// What the fused gradients of images share: gradients and potentials of a neuron, from the last step to the first, a batch
// of AHEAD steps at a time.

// Steps of a chunk of the gradient of a dense layer.
constexpr int CHUNK = 32;

// The number of steps of a batch from `frame` on, none for a thread without a neuron.
__device__ __forceinline__ int steps_left(bool has_neuron, long long frame, long long steps)
{
    return has_neuron && frame < steps ? int(min(steps - frame, (long long)AHEAD)) : 0;
}

// One neuron at all steps, column `x` of an array (steps, columns): 0 after the last step, and where x is null.
struct Rows {
    const real *x;
    long long steps, columns;

    __device__ __forceinline__ real at(long long t) const { return x && t < steps ? x[t * columns] : 0; }

    __device__ __forceinline__ void read(real (&rows)[AHEAD], long long frame) const
    {
        const int left = steps_left(x, frame, steps);
        const real *const from = x + frame * columns;
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            rows[j] = j < left ? from[j * columns] : 0;
    }
};

// The bits of a float16 as bits of a `real`, so that a potential is converted where it is used, not where it is read.
__device__ __forceinline__ real with_bits(float16 x)
{
    if constexpr (sizeof(real) == 4)
        return __int_as_float(x.bits);
    else
        return __longlong_as_double(x.bits);
}

__device__ __forceinline__ real from_bits(real x)
{
    if constexpr (sizeof(real) == 4)
        return from_float16({(unsigned short)__float_as_int(x)});
    else
        return from_float16({(unsigned short)__double_as_longlong(x)});
}

// The potential of one neuron at all steps, as `real` or as float16; the other of the two is null.
struct Potential {
    const real *u;
    const float16 *half;
    long long steps, columns;

    __device__ __forceinline__ void read(real (&rows)[AHEAD], long long frame) const
    {
        if (!half)
            return Rows{u, steps, columns}.read(rows, frame);
        const int left = steps_left(true, frame, steps);
        const float16 *const from = half + frame * columns;
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            rows[j] = j < left ? with_bits(from[j * columns]) : 0;
    }

    __device__ __forceinline__ void convert(real (&rows)[AHEAD]) const
    {
        if (half)
#pragma unroll
            for (int j = 0; j < AHEAD; ++j)
                rows[j] = from_bits(rows[j]);
    }
};

// The gradient of one neuron's spikes: a column of an array or, with `inputs`, of the product of next_errors
// (steps, samples, inputs) and the weights of the block's neurons (inputs, threads).
struct Gradient {
    Rows g;               // for a product, next_errors of this sample
    const real *weights;  // of this neuron, blockDim.x apart
    int inputs;
    real now[AHEAD], old[AHEAD];

    // Reads a batch and, if `cut` is not 0, the steps that are so much later.
    __device__ __forceinline__ void read(long long frame, long long cut)
    {
        if (inputs == 0) {
            g.read(now, frame);
            if (cut)
                g.read(old, frame + cut);
            return;
        }
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            now[j] = old[j] = 0;
        const int left = steps_left(g.x, frame, g.steps), left_later = cut ? steps_left(g.x, frame + cut, g.steps) : 0;
#pragma unroll 1
        for (int i = 0; i < inputs; ++i) {
            const real weight = weights[i * blockDim.x];
            const real *const errors = g.x + frame * g.columns + i, *const later = errors + cut * g.columns;
#pragma unroll
            for (int j = 0; j < AHEAD; ++j) {
                if (j < left)
                    now[j] = fma(errors[j * g.columns], weight, now[j]);
                if (j < left_later)
                    old[j] = fma(later[j * g.columns], weight, old[j]);
            }
        }
    }

    __device__ __forceinline__ real at(long long, int j) const { return now[j]; }
    __device__ __forceinline__ real later(long long, int j) const { return old[j]; }
};

// In place of a bool that is always false.
struct Never {
    __device__ __forceinline__ constexpr operator bool() const { return false; }
};

// Writes what NeuronAdjoint has computed to a column of an array (steps, columns); nothing to null.
__device__ __forceinline__ void write_errors(
    real *errors, long long frame, const real (&sums)[AHEAD], long long steps, long long columns)
{
    const int left = steps_left(errors, frame, steps);
    real *const to = errors + frame * columns;
#pragma unroll
    for (int j = 0; j < AHEAD; ++j)
        if (j < left)
            to[j * columns] = sums[j];
}

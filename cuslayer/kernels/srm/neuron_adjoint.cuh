// Neurons from the last step to the first, a batch of AHEAD steps at a time, for the fused gradients: neuron_adjoint
// and neuron_adjoint_exact of srm.cu.

// The constants of a layer of neurons.
struct AdjointConstants {
    real theta, steep, height;
    real decay, gain;
    long long cut;
    real cut_p, cut_q;
    real ref_decay, ref_gain;
    long long ref_cut;
    real ref_cut_p, ref_cut_q;
};

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

// The bits of a float16 as those of a `real`, so that a potential is converted where it is used, not where it is read.
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

// One neuron. `exact` is constant where a kernel has no exact gradient. If it is true, g_u is the gradient of the
// potential, which is written and read again, or null for a thread without a neuron; otherwise g_u is not accessed.
template <typename Exact>
struct NeuronAdjoint {
    const AdjointConstants &of;
    Potential u;
    real *g_u;
    Exact exact;
    Recurrence response{of.decay, of.gain, of.cut_p, of.cut_q};
    Recurrence refractory{of.ref_decay, of.ref_gain, of.ref_cut_p, of.ref_cut_q};
    real now[AHEAD], old[AHEAD];

    __device__ __forceinline__ real rho(real x) const { return surrogate(x, of.theta, of.steep, of.height); }

    // The steps after which gradients are read again; 0 if none are.
    __device__ __forceinline__ long long again() const { return exact ? 0 : of.cut; }

    __device__ __forceinline__ void read(long long frame)
    {
        u.read(now, frame);
        if (!exact)
            u.read(old, frame + of.cut);
    }

    // Computes the gradients of the weighted input at the steps that were read; g.at(frame, j) is the gradient of the
    // spike at step frame + j, g.later(frame, j) that of `cut` steps later.
    template <typename Source>
    __device__ __forceinline__ void compute(long long frame, const Source &g, real (&sums)[AHEAD])
    {
        u.convert(now);
        if (exact)
            return compute_exact(frame, g, sums);
        u.convert(old);
#pragma unroll
        for (int j = AHEAD - 1; j >= 0; --j) {
            const real leaving = flushed(rho(old[j]) * g.later(frame, j));
            const real entering = flushed(rho(now[j]) * g.at(frame, j));
            response.flush(frame + j);
            sums[j] = response.output(leaving);
            response.accept(entering, leaving);
        }
    }

    template <typename Source>
    __device__ __forceinline__ void compute_exact(long long frame, const Source &g, real (&sums)[AHEAD])
    {
        // Rows of this batch are read when they are written, earlier ones together.
        const Rows written{g_u, u.steps, u.columns};
        const bool in_advance = of.cut >= AHEAD, ref_in_advance = of.ref_cut >= AHEAD;
        real ref_old[AHEAD];
        if (in_advance)
            written.read(old, frame + of.cut);
        if (ref_in_advance)
            written.read(ref_old, frame + of.ref_cut);
#pragma unroll
        for (int j = AHEAD - 1; j >= 0; --j) {
            const long long t = frame + j;
            if (!in_advance)
                old[j] = written.at(t + of.cut);
            if (!ref_in_advance)
                ref_old[j] = written.at(t + of.ref_cut);
            response.flush(t);
            refractory.flush(t);
            const real value = flushed(rho(now[j]) * (g.at(frame, j) + refractory.output(ref_old[j])));
            sums[j] = response.output(old[j]);
            response.accept(value, old[j]);
            refractory.accept(value, ref_old[j]);
            if (g_u && t < u.steps)
                g_u[t * u.columns] = value;
        }
    }

    // Writes what `compute` has computed to a column of an array like g_u; nothing to null.
    __device__ __forceinline__ void write(real *errors, long long frame, const real (&sums)[AHEAD]) const
    {
        const int left = steps_left(errors, frame, u.steps);
        real *const to = errors + frame * u.columns;
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            if (j < left)
                to[j * u.columns] = sums[j];
    }
};

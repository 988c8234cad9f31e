// Neurons from the last step to the first, a batch of AHEAD steps at a time, for the fused gradients: neuron_adjoint and
// neuron_adjoint_exact of srm.cu.

__device__ __forceinline__ real number(real x) { return x; }
__device__ __forceinline__ real number(float16 x) { return from_float16(x); }

// The constants of a layer of neurons.
struct Constants {
    real theta, steep, height;
    real decay, gain;
    long long cut;
    real cut_p, cut_q;
    real ref_decay, ref_gain;
    long long ref_cut;
    real ref_cut_p, ref_cut_q;
};

// Column `x` of an array (steps, columns): one neuron at all steps; 0 after the last step, and where x is null.
template <typename Number>
struct Column {
    const Number *x;
    long long steps, columns;

    __device__ __forceinline__ Number at(long long t) const { return x && t < steps ? x[t * columns] : Number{}; }

    __device__ __forceinline__ void read(Number (&rows)[AHEAD], long long frame) const
    {
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            rows[j] = at(frame + j);
    }
};

// The gradient of one neuron's spikes: a column of an array or, with `inputs`, of the product of next_errors
// (steps, samples, inputs) and the transpose of next_weight (neurons, inputs).
struct Gradient {
    Column<real> g;           // for a product, next_errors of this sample
    const real *next_weight;  // of this neuron
    int inputs;
    long long cut;
    real now[AHEAD], old[AHEAD];

    // Reads a batch and, unless the gradient is exact, the steps that are `cut` later.
    template <bool exact>
    __device__ __forceinline__ void read(long long frame)
    {
        if (inputs == 0) {
            g.read(now, frame);
            if (!exact)
                g.read(old, frame + cut);
            return;
        }
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            now[j] = old[j] = 0;
        if (g.x)
#pragma unroll 1
            for (int i = 0; i < inputs; ++i) {
                const Column<real> errors{g.x + i, g.steps, g.columns};
                const real weight = next_weight[i];
#pragma unroll
                for (int j = 0; j < AHEAD; ++j) {
                    now[j] = fma(errors.at(frame + j), weight, now[j]);
                    if (!exact)
                        old[j] = fma(errors.at(frame + j + cut), weight, old[j]);
                }
            }
    }

    __device__ __forceinline__ real at(long long, int j) const { return now[j]; }
    __device__ __forceinline__ real later(long long, int j) const { return old[j]; }
};

// One neuron. `u` is its potential, `g_u` the gradient of the potential, which is written and read again if exact.
template <typename Potential, bool exact>
struct NeuronAdjoint {
    const Constants &of;
    Column<Potential> u;
    real *g_u;
    Recurrence response{of.decay, of.gain, of.cut_p, of.cut_q};
    Recurrence refractory{of.ref_decay, of.ref_gain, of.ref_cut_p, of.ref_cut_q};
    Potential now[AHEAD], old[AHEAD];

    __device__ __forceinline__ real rho(Potential x) const
    {
        return surrogate(number(x), of.theta, of.steep, of.height);
    }

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
        if (exact)
            return compute_exact(frame, g, sums);
#pragma unroll
        for (int j = AHEAD - 1; j >= 0; --j) {
            const real leaving = rho(old[j]) * g.later(frame, j);
            const real entering = rho(now[j]) * g.at(frame, j);
            sums[j] = response.output(leaving);
            response.accept(entering, leaving);
        }
    }

    template <typename Source>
    __device__ __forceinline__ void compute_exact(long long frame, const Source &g, real (&sums)[AHEAD])
    {
        const Column<real> written{u.x ? g_u : nullptr, u.steps, u.columns};
        // Rows of this batch are read when they are written, earlier ones together.
        const bool in_advance = of.cut >= AHEAD, ref_in_advance = of.ref_cut >= AHEAD;
        real leaving[AHEAD], ref_leaving[AHEAD];
        if (in_advance)
            written.read(leaving, frame + of.cut);
        if (ref_in_advance)
            written.read(ref_leaving, frame + of.ref_cut);
#pragma unroll
        for (int j = AHEAD - 1; j >= 0; --j) {
            const long long t = frame + j;
            const real old_g_u = in_advance ? leaving[j] : written.at(t + of.cut);
            const real ref_old = ref_in_advance ? ref_leaving[j] : written.at(t + of.ref_cut);
            const real value = rho(now[j]) * (g.at(frame, j) + refractory.output(ref_old));
            sums[j] = response.output(old_g_u);
            response.accept(value, old_g_u);
            refractory.accept(value, ref_old);
            if (u.x && t < u.steps)
                g_u[t * u.columns] = value;
        }
    }

    // Writes what `compute` has computed to a column of an array like g_u; not at all to null.
    __device__ __forceinline__ void write(real *errors, long long frame, const real (&sums)[AHEAD]) const
    {
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            if (errors && frame + j < u.steps)
                errors[(frame + j) * u.columns] = sums[j];
    }
};

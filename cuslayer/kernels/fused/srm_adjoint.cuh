// Neurons of the spike response model in fused gradients: neuron_adjoint and neuron_adjoint_exact of kernels/srm/srm.cu.
// For neurons that are written as a step, printer.py puts kind_adjoint.cuh in the place of this header.

// The constants of a layer of neurons.
struct NeuronsBack {
    real theta;         // threshold
    real steep;         // 1 / (tau_rho theta)
    real rho_height;    // dt scale_rho / (tau_rho theta)
    real decay;         // exp(-dt / tau_sr)
    real gain;          // amplitude e dt / tau_sr
    long long cut;      // steps until an input leaves the response; none if >= steps
    real cut_p;         // decay^cut
    real cut_q;         // cut decay^cut
    real ref_decay;     // exp(-dt / tau_ref)
    real ref_gain;      // amplitude e dt / tau_ref, negative
    long long ref_cut;  // steps until a spike leaves the refractory response
    real ref_cut_p;     // ref_decay^ref_cut
    real ref_cut_q;     // ref_cut ref_decay^ref_cut
};

// The steps after which an error leaves the response; none if >= steps.
__device__ __forceinline__ long long reach_of(const NeuronsBack &of)
{
    return of.cut;
}

// One neuron. `exact` is constant where a kernel has no exact gradient. If it is true, g_u is the gradient of the
// potential, which is written and read again, or null for a thread without a neuron; otherwise g_u is not accessed.
template <typename Exact>
struct NeuronAdjoint {
    const NeuronsBack &of;
    Potential u;
    real *g_u;
    Exact exact;
    Recurrence response{of.decay, of.gain, of.cut_p, of.cut_q};
    Recurrence refractory{of.ref_decay, of.ref_gain, of.ref_cut_p, of.ref_cut_q};
    real now[AHEAD], old[AHEAD];

    __device__ __forceinline__ NeuronAdjoint(
        const NeuronsBack &of, const real *, const real *, long long, const Potential &u, real *g_u, Exact exact)
        : of(of), u(u), g_u(g_u), exact(exact)
    {
    }

    __device__ __forceinline__ real rho(real x) const { return surrogate(x, of.theta, of.steep, of.rho_height); }

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
            sums[j] = response.step(frame + j, entering, leaving);
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
            real value;
            sums[j] = srm_backward(response, refractory, t, rho(now[j]), g.at(frame, j), old[j], ref_old[j], value);
            if (g_u && t < u.steps)
                g_u[t * u.columns] = value;
        }
    }
};

// The gradient of the potential of one column at the last steps: a ring of rows in shared memory, or the rows of an
// array. A thread reads only what it has written.
struct Past {
    real *mine;
    long long pitch;
    int length;   // rows
    int row = 0;  // of this step

    // The row of `steps` steps later.
    __device__ __forceinline__ int later(long long steps) const { return (row + steps) % length; }

    __device__ __forceinline__ void back(int &of) const { of = of ? of - 1 : length - 1; }

    __device__ __forceinline__ real at(int of) const { return mine[of * pitch]; }
};

// The filters of a column, and where its gradients of the potential leave them.
template <bool exact>
struct WalkerBack {
    Recurrence response;
    Recurrence nu;
    Past past;
    long long steps, cut, ref_cut;  // steps: 0 for a lane that has no column
    int leaves = past.later(cut);
    int ref_leaves = exact ? past.later(ref_cut) : 0;

    __device__ __forceinline__ WalkerBack(
        const NeuronsBack &of, const real *, const real *, long long, const Past &past, long long steps)
        : response{of.decay, of.gain, of.cut_p, of.cut_q}, nu{of.ref_decay, of.ref_gain, of.ref_cut_p, of.ref_cut_q},
          past(past), steps(steps), cut(of.cut), ref_cut(of.ref_cut)
    {
    }

    // Reads what leaves the filters at step t.
    __device__ __forceinline__ void read(real &leaving, real &ref_leaving, long long t)
    {
        leaving = t + cut < steps ? past.at(leaves) : 0;
        past.back(leaves);
        if (exact) {
            ref_leaving = t + ref_cut < steps ? past.at(ref_leaves) : 0;
            past.back(ref_leaves);
        }
    }

    // Goes through a chunk of 32 steps, from the last to the first, and writes its errors.
    __device__ __forceinline__ void walk(const real *terms, real *errors, long long begin, long long columns)
    {
        // What leaves can be read in advance unless it belongs to the current batch.
        const bool in_advance = cut >= AHEAD && (!exact || ref_cut >= AHEAD);
        for (int i = CHUNK - 1; i >= 0; i -= AHEAD) {
            real term[AHEAD], rho[AHEAD], leaving[AHEAD], ref_leaving[AHEAD];
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                term[k] = terms[(i - k) * LANES];
                rho[k] = exact ? terms[(CHUNK + i - k) * LANES] : 0;
                if (in_advance)
                    read(leaving[k], ref_leaving[k], begin + i - k);
            }
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                const long long t = begin + i - k;
                if (!in_advance)
                    read(leaving[k], ref_leaving[k], t);
                const int step = AHEAD - 1 - k;
                real value = term[k], filtered;
                if (exact)
                    filtered = srm_backward(response, nu, step, rho[k], term[k], leaving[k], ref_leaving[k], value);
                else
                    filtered = response.step(step, value, leaving[k]);
                if (t < steps) {
                    past.mine[past.row * past.pitch] = value;
                    errors[t * columns] = filtered;
                }
                past.back(past.row);
            }
        }
    }
};

// The terms of a step of one column, which need no other step: exact, the gradient of the spike and dt rho(u), CHUNK rows
// later; else their product.
struct TermsOfStep {
    const NeuronsBack &of;

    template <bool exact>
    static constexpr int ROWS = exact ? 2 : 1;

    __device__ __forceinline__ TermsOfStep(const NeuronsBack &of, const real *, const real *, long long) : of(of) {}

    template <bool exact>
    __device__ __forceinline__ void write(real *terms, real grad, real potential, bool within) const
    {
        const real rho = within ? surrogate(potential, of.theta, of.steep, of.rho_height) : 0;
        terms[0] = exact ? grad : flushed(rho * grad);
        if (exact)
            terms[CHUNK * LANES] = rho;
    }
};

// Neurons that are written as a step in fused gradients, in the place of srm_adjoint.cuh: `Kind` is the struct of one kind,
// whose backward needs no value of forward except the potential.

// The constants of a layer of neurons.
struct NeuronsBack {
    long long period;           // of the constants of each neuron: column m has those at m % period
    int code;                   // the shape of the surrogate
    real theta, steep, height;  // threshold; 1 / width; factor of the shape
    real a, b;                  // constants of the shape
};

__device__ __forceinline__ constexpr long long reach_of(const NeuronsBack &)
{
    return 1ll << 62;
}

// One neuron.
struct SteppedBack {
    Kind kind;
    real later[Kind::STATES] = {};

    __device__ __forceinline__ SteppedBack(
        const NeuronsBack &of, const real *numbers, const real *constants, long long column)
    {
        kind.load(numbers, constants + column % of.period, of.period);
    }

    __device__ __forceinline__ real rho(const NeuronsBack &of, real u) const
    {
        return Slope{of.code, of.theta, of.steep, of.height, of.a, of.b}(u);
    }

    // The gradient of the input, from the spike's gradient and the surrogate.
    template <bool exact>
    __device__ __forceinline__ real back(real grad, real u, real rho)
    {
        const real before[Kind::STATES] = {}, kept[Kind::SAVED + 1] = {};
        real of_input, total[Kind::COLUMNS + 1] = {};
        kind.template backward<exact>(later, before, kept, u, grad, false, rho, &of_input, total);
        return of_input;
    }
};

// As in srm_adjoint.cuh.
template <typename Exact>
struct NeuronAdjoint : SteppedBack {
    const NeuronsBack &of;
    Potential u;
    Exact exact;
    real now[AHEAD];

    __device__ __forceinline__ NeuronAdjoint(
        const NeuronsBack &of, const real *numbers, const real *constants, long long column, const Potential &u, real *,
        Exact exact)
        : SteppedBack(of, numbers, constants, column), of(of), u(u), exact(exact)
    {
    }

    __device__ __forceinline__ long long again() const { return 0; }

    __device__ __forceinline__ void read(long long frame) { u.read(now, frame); }

    template <typename Source>
    __device__ __forceinline__ void compute(long long frame, const Source &g, real (&sums)[AHEAD])
    {
        u.convert(now);
        if (exact)
            sweep<true>(frame, g, sums);
        else
            sweep<false>(frame, g, sums);
    }

    template <bool all, typename Source>
    __device__ __forceinline__ void sweep(long long frame, const Source &g, real (&sums)[AHEAD])
    {
#pragma unroll
        for (int j = AHEAD - 1; j >= 0; --j)
            sums[j] = frame + j < u.steps ? back<all>(g.at(frame, j), now[j], rho(of, now[j])) : real(0);
    }
};

// Nothing is read again.
struct Past {
    real *mine;
    long long pitch;
    int length, row = 0;
};

template <bool exact>
struct WalkerBack : SteppedBack {
    long long steps;  // 0 for a lane that has no column

    __device__ __forceinline__ WalkerBack(
        const NeuronsBack &of, const real *numbers, const real *constants, long long column, const Past &, long long steps)
        : SteppedBack(of, numbers, constants, column), steps(steps)
    {
    }

    __device__ __forceinline__ void walk(const real *terms, real *errors, long long begin, long long columns)
    {
        for (int i = CHUNK - 1; i >= 0; i -= AHEAD) {
            real grad[AHEAD], rho[AHEAD], potential[AHEAD];
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                grad[k] = terms[(i - k) * LANES];
                rho[k] = terms[(CHUNK + i - k) * LANES];
                potential[k] = terms[(2 * CHUNK + i - k) * LANES];
            }
#pragma unroll
            for (int k = 0; k < AHEAD; ++k)
                if (begin + i - k < steps)
                    errors[(begin + i - k) * columns] = back<exact>(grad[k], potential[k], rho[k]);
        }
    }
};

// The terms of a step of one column: the gradient of the spike, dt rho(u), and the potential, CHUNK rows apart.
struct TermsOfStep : SteppedBack {
    const NeuronsBack &of;

    template <bool exact>
    static constexpr int ROWS = 3;

    __device__ __forceinline__ TermsOfStep(
        const NeuronsBack &of, const real *numbers, const real *constants, long long column)
        : SteppedBack(of, numbers, constants, column), of(of)
    {
    }

    template <bool exact>
    __device__ __forceinline__ void write(real *terms, real grad, real potential, bool) const
    {
        terms[0] = grad;
        terms[CHUNK * LANES] = rho(of, potential);
        terms[2 * CHUNK * LANES] = potential;
    }
};

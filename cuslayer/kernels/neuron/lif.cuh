// A neuron of the kind LIF, printed from cuslayer/neurons/lif.py by `python -m cuslayer.neurons`.
struct LIF {
    real theta, share, drop;  // of all neurons
    real d;  // of this neuron

    static constexpr int STATES = 1, INPUTS = 1, SAVED = 0, COLUMNS = 1;
    // Whether backward needs the states of the step before even where no constant is trained.
    static constexpr bool OLD = false;

    __device__ __forceinline__ void load(const real *numbers, const real *constants, long long period)
    {
        theta = numbers[0];
        share = numbers[1];
        drop = numbers[2];
        d = constants[0];
    }

    // One step; returns whether the neuron fires.
    __device__ __forceinline__ bool forward(real *state, const real *input, real &potential, real *) const
    {
        const real v = state[0];
        const real x = input[0];
        const real u = flushed(d * v + flushed(x));
        const bool s = u >= theta;
        const real r = s ? share * u - drop : u;
        state[0] = r;
        potential = u;
        return s;
    }

    // The states after a step, from its potential and its saved values.
    __device__ __forceinline__ void after(real *before, real u, const real *) const
    {
        const bool s = u >= theta;
        const real r = s ? share * u - drop : u;
        before[0] = r;
    }

    // Back over a step, as if the neuron had not fired.
    __device__ __forceinline__ void backward_slayer(real *later, const real *before, const real *, real u, real grad,
        bool graded, real slope, real *of_input, real *total) const
    {
        const real later_v = later[0];
        const real v = before[0];
        const bool s = u >= theta;
        const real of_s = graded ? grad * u : grad;
        const real of_u = flushed((graded && s ? grad : real(0)) + later_v + slope * of_s);
        later[0] = of_u * d;
        of_input[0] = of_u;
        total[0] = total[0] + of_u * v;
    }

    // Back over a step, with all that the spike changes.
    __device__ __forceinline__ void backward_exact(real *later, const real *before, const real *, real u, real grad,
        bool graded, real slope, real *of_input, real *total) const
    {
        const real later_v = later[0];
        const real v = before[0];
        const bool s = u >= theta;
        const real of_s = (graded ? grad * u : grad) + later_v * ((share - real(1)) * u - drop);
        const real of_u = flushed((graded && s ? grad : real(0)) + (s ? later_v : real(0)) * share + (s ? real(0) :
            later_v) + slope * of_s);
        later[0] = of_u * d;
        of_input[0] = of_u;
        total[0] = total[0] + of_u * v;
    }

    template <bool exact, typename... Given>
    __device__ __forceinline__ void backward(Given &&...given) const
    {
        if constexpr (exact)
            backward_exact(given...);
        else
            backward_slayer(given...);
    }
};

// A neuron of the kind CUBA, printed from cuslayer/neurons/cuba.py by `python -m cuslayer.neurons`.
struct CUBA {
    real theta, share, drop;  // of all neurons
    real a, b;  // of this neuron

    static constexpr int STATES = 2, INPUTS = 1, SAVED = 1, COLUMNS = 2;
    // Whether backward needs the states of the step before even where no constant is trained.
    static constexpr bool OLD = false;

    __device__ __forceinline__ void load(const real *numbers, const real *constants, long long period)
    {
        theta = numbers[0];
        share = numbers[1];
        drop = numbers[2];
        a = constants[0];
        b = constants[period];
    }

    // One step; returns whether the neuron fires.
    __device__ __forceinline__ bool forward(real *state, const real *input, real &potential, real *saved) const
    {
        const real i = state[0];
        const real v = state[1];
        const real x = input[0];
        const real current = flushed(a * i + x);
        const real u = flushed(b * v + current);
        const bool s = u >= theta;
        const real r = s ? share * u - drop : u;
        state[0] = current;
        state[1] = r;
        potential = u;
        saved[0] = current;
        return s;
    }

    // The states after a step, from its potential and its saved values.
    __device__ __forceinline__ void after(real *before, real u, const real *saved) const
    {
        const real current = saved[0];
        const bool s = u >= theta;
        const real r = s ? share * u - drop : u;
        before[0] = current;
        before[1] = r;
    }

    // Back over a step, as if the neuron had not fired.
    __device__ __forceinline__ void backward_slayer(real *later, const real *before, const real *, real u, real grad,
        bool graded, real slope, real *of_input, real *total) const
    {
        const real later_i = later[0];
        const real later_v = later[1];
        const real i = before[0];
        const real v = before[1];
        const bool s = u >= theta;
        const real of_s = graded ? grad * u : grad;
        const real of_u = flushed((graded && s ? grad : real(0)) + later_v + slope * of_s);
        const real of_current = flushed(later_i + of_u);
        later[0] = of_current * a;
        later[1] = of_u * b;
        of_input[0] = of_current;
        total[0] = total[0] + of_current * i;
        total[1] = total[1] + of_u * v;
    }

    // Back over a step, with all that the spike changes.
    __device__ __forceinline__ void backward_exact(real *later, const real *before, const real *, real u, real grad,
        bool graded, real slope, real *of_input, real *total) const
    {
        const real later_i = later[0];
        const real later_v = later[1];
        const real i = before[0];
        const real v = before[1];
        const bool s = u >= theta;
        const real of_s = (graded ? grad * u : grad) + later_v * ((share - real(1)) * u - drop);
        const real of_u = flushed((graded && s ? grad : real(0)) + (s ? later_v : real(0)) * share + (s ? real(0) :
            later_v) + slope * of_s);
        const real of_current = flushed(later_i + of_u);
        later[0] = of_current * a;
        later[1] = of_u * b;
        of_input[0] = of_current;
        total[0] = total[0] + of_current * i;
        total[1] = total[1] + of_u * v;
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

// A neuron of the kind NormalizedALIF, printed from cuslayer/neurons/normalized_alif.py by `python -m cuslayer.neurons`.
struct NormalizedALIF {
    real rise, theta;  // of all neurons
    real d, e;  // of this neuron

    static constexpr int STATES = 3, INPUTS = 1, SAVED = 3, COLUMNS = 2;
    // Whether backward needs the states of the step before even where no constant is trained.
    static constexpr bool OLD = true;

    __device__ __forceinline__ void load(const real *numbers, const real *constants, long long period)
    {
        rise = numbers[0];
        theta = numbers[1];
        d = constants[0];
        e = constants[period];
    }

    // One step; returns whether the neuron fires.
    __device__ __forceinline__ bool forward(real *state, const real *input, real &potential, real *saved) const
    {
        const real v = state[0];
        const real h = state[1];
        const real fired = state[2];
        const real x = input[0];
        const real h_1 = flushed(e * h + (real(1) - e) * rise * fired);
        const real v_1 = flushed(d * v - (theta + h_1) * fired + (real(1) - d) * x);
        const real u = v_1 - h_1;
        const bool s = u >= theta;
        state[0] = v_1;
        state[1] = h_1;
        state[2] = s ? real(1) : real(0);
        potential = u;
        saved[0] = h_1;
        saved[1] = x;
        saved[2] = v_1;
        return s;
    }

    // The states after a step, from its potential and its saved values.
    __device__ __forceinline__ void after(real *before, real u, const real *saved) const
    {
        const real h_1 = saved[0];
        const real v_1 = saved[2];
        const bool s = u >= theta;
        before[0] = v_1;
        before[1] = h_1;
        before[2] = s ? real(1) : real(0);
    }

    // Back over a step, with the spike as a constant.
    __device__ __forceinline__ void backward_slayer(real *later, const real *before, const real *saved, real u,
        real grad, bool graded, real slope, real *of_input, real *total) const
    {
        const real later_v = later[0];
        const real later_h = later[1];
        const real v = before[0];
        const real h = before[1];
        const real fired = before[2];
        const real x = saved[1];
        const bool s = u >= theta;
        const real of_s = graded ? grad * u : grad;
        const real of_u = (graded && s ? grad : real(0)) + slope * of_s;
        const real of_v_1 = flushed(later_v + of_u);
        const real of_h_1 = flushed(later_h - of_u - of_v_1 * fired);
        later[0] = of_v_1 * d;
        later[1] = of_h_1 * e;
        later[2] = real(0);
        of_input[0] = of_v_1 * (real(1) - d);
        total[0] = total[0] + (of_v_1 * v - of_v_1 * x);
        total[1] = total[1] + (of_h_1 * h - of_h_1 * fired * rise);
    }

    // Back over a step, with all that the spike changes.
    __device__ __forceinline__ void backward_exact(real *later, const real *before, const real *saved, real u,
        real grad, bool graded, real slope, real *of_input, real *total) const
    {
        const real later_v = later[0];
        const real later_h = later[1];
        const real later_fired = later[2];
        const real v = before[0];
        const real h = before[1];
        const real fired = before[2];
        const real h_1 = saved[0];
        const real x = saved[1];
        const bool s = u >= theta;
        const real of_s = (graded ? grad * u : grad) + later_fired;
        const real of_u = (graded && s ? grad : real(0)) + slope * of_s;
        const real of_v_1 = flushed(later_v + of_u);
        const real of_h_1 = flushed(later_h - of_u - of_v_1 * fired);
        later[0] = of_v_1 * d;
        later[1] = of_h_1 * e;
        later[2] = -(of_v_1 * (theta + h_1)) + of_h_1 * ((real(1) - e) * rise);
        of_input[0] = of_v_1 * (real(1) - d);
        total[0] = total[0] + (of_v_1 * v - of_v_1 * x);
        total[1] = total[1] + (of_h_1 * h - of_h_1 * fired * rise);
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

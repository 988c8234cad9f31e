// A neuron of the kind NormalizedALIF, printed from cuslayer/neurons/normalized_alif.py by `python -m cuslayer.neurons`.
struct NormalizedALIF {
    real theta, rise;  // of all neurons
    real d, e;  // of this neuron

    static constexpr int STATES = 2, INPUTS = 1, SAVED = 3, COLUMNS = 2;
    // Whether backward needs the states of the step before even where no constant is trained.
    static constexpr bool OLD = false;

    __device__ __forceinline__ void load(const real *numbers, const real *constants, long long period)
    {
        theta = numbers[0];
        rise = numbers[1];
        d = constants[0];
        e = constants[period];
    }

    // One step; returns whether the neuron fires.
    __device__ __forceinline__ bool forward(real *state, const real *input, real &potential, real *saved) const
    {
        const real left = state[0];
        const real h = state[1];
        const real x = input[0];
        const real v = flushed(left + (real(1) - d) * x);
        const real u = v - h;
        const bool s = u >= theta;
        const real h_1 = flushed(e * h + (s ? (real(1) - e) * rise : real(0)));
        const real left_1 = d * v - (s ? theta + h_1 : real(0));
        state[0] = left_1;
        state[1] = h_1;
        potential = u;
        saved[0] = h_1;
        saved[1] = v;
        saved[2] = x;
        return s;
    }

    // Where the surrogate is taken.
    __device__ __forceinline__ real distance(real u) const
    {
        return u;
    }

    // The states after a step, from its potential and its saved values.
    __device__ __forceinline__ void after(real *before, real , const real *saved) const
    {
        const real h_1 = saved[0];
        before[1] = h_1;
    }

    // Back over a step, with the spike as a constant.
    __device__ __forceinline__ void backward_slayer(real *later, const real *before, const real *saved, real u,
        real grad, bool graded, real slope, real *of_input, real *total) const
    {
        const real later_left = later[0];
        const real later_h = later[1];
        const real h = before[1];
        const real v = saved[1];
        const real x = saved[2];
        const bool s = u >= theta;
        const real of_h_1 = flushed(later_h + (s ? -later_left : real(0)));
        const real of_s = graded ? grad * u : grad;
        const real of_u = (graded && s ? grad : real(0)) + slope * of_s;
        const real of_v = flushed(later_left * d + of_u);
        later[0] = of_v;
        later[1] = of_h_1 * e - of_u;
        of_input[0] = of_v * (real(1) - d);
        total[0] = total[0] + (later_left * v - of_v * x);
        total[1] = total[1] + (of_h_1 * h - (s ? of_h_1 : real(0)) * rise);
    }

    // Back over a step, with all that the spike changes.
    __device__ __forceinline__ void backward_exact(real *later, const real *before, const real *saved, real u,
        real grad, bool graded, real slope, real *of_input, real *total) const
    {
        const real later_left = later[0];
        const real later_h = later[1];
        const real h = before[1];
        const real h_1 = saved[0];
        const real v = saved[1];
        const real x = saved[2];
        const bool s = u >= theta;
        const real of_h_1 = flushed(later_h + (s ? -later_left : real(0)));
        const real of_s = (graded ? grad * u : grad) - later_left * (theta + h_1) + of_h_1 * ((real(1) - e) * rise);
        const real of_u = (graded && s ? grad : real(0)) + slope * of_s;
        const real of_v = flushed(later_left * d + of_u);
        later[0] = of_v;
        later[1] = of_h_1 * e - of_u;
        of_input[0] = of_v * (real(1) - d);
        total[0] = total[0] + (later_left * v - of_v * x);
        total[1] = total[1] + (of_h_1 * h - (s ? of_h_1 : real(0)) * rise);
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

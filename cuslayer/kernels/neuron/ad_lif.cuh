// A neuron of the kind AdLIF, printed from cuslayer/neurons/ad_lif.py by `python -m cuslayer.neurons`.
struct AdLIF {
    real theta, q;  // of all neurons
    real d, e, a, b;  // of this neuron

    static constexpr int STATES = 2, INPUTS = 1, SAVED = 2, COLUMNS = 4;
    // Whether backward needs the states of the step before even where no constant is trained.
    static constexpr bool OLD = false;

    __device__ __forceinline__ void load(const real *numbers, const real *constants, long long period)
    {
        theta = numbers[0];
        q = numbers[1];
        d = constants[0];
        e = constants[period];
        a = constants[2 * period];
        b = constants[3 * period];
    }

    // One step; returns whether the neuron fires.
    __device__ __forceinline__ bool forward(real *state, const real *input, real &potential, real *saved) const
    {
        const real v = state[0];
        const real w_ = state[1];
        const real x = input[0];
        const real u = flushed(d * v + (real(1) - d) * (x - w_));
        const bool s = u >= theta;
        const real v_1 = u < theta ? u : real(0);
        const real w_1 = flushed(e * w_ + (real(1) - e) * q * (a * v_1 + (s ? b : real(0))));
        state[0] = v_1;
        state[1] = w_1;
        potential = u;
        saved[0] = x;
        saved[1] = w_1;
        return s;
    }

    // The states after a step, from its potential and its saved values.
    __device__ __forceinline__ void after(real *before, real u, const real *saved) const
    {
        const real w_1 = saved[1];
        const real v_1 = u < theta ? u : real(0);
        before[0] = v_1;
        before[1] = w_1;
    }

    // Back over a step, with the spike as a constant.
    __device__ __forceinline__ void backward_slayer(real *later, const real *before, const real *saved, real u,
        real grad, bool graded, real slope, real *of_input, real *total) const
    {
        const real later_v = later[0];
        const real later_w = later[1];
        const real v = before[0];
        const real w_ = before[1];
        const real x = saved[0];
        const bool s = u >= theta;
        const real v_1 = u < theta ? u : real(0);
        const real of_w_1 = flushed(later_w);
        const real of_v_1 = later_v + of_w_1 * ((real(1) - e) * q) * a;
        const real of_s = graded ? grad * u : grad;
        const real of_u = flushed((graded && s ? grad : real(0)) + (u < theta ? of_v_1 : real(0)) + slope * of_s);
        later[0] = of_u * d;
        later[1] = of_w_1 * e - of_u * (real(1) - d);
        of_input[0] = of_u * (real(1) - d);
        total[0] = total[0] + (of_u * v - of_u * (x - w_));
        total[1] = total[1] + (of_w_1 * w_ - of_w_1 * (a * v_1 + (s ? b : real(0))) * q);
        total[2] = total[2] + of_w_1 * ((real(1) - e) * q) * v_1;
        total[3] = total[3] + (s ? of_w_1 * ((real(1) - e) * q) : real(0));
    }

    // Back over a step, with all that the spike changes.
    __device__ __forceinline__ void backward_exact(real *later, const real *before, const real *saved, real u,
        real grad, bool graded, real slope, real *of_input, real *total) const
    {
        const real later_v = later[0];
        const real later_w = later[1];
        const real v = before[0];
        const real w_ = before[1];
        const real x = saved[0];
        const bool s = u >= theta;
        const real v_1 = u < theta ? u : real(0);
        const real of_w_1 = flushed(later_w);
        const real of_v_1 = later_v + of_w_1 * ((real(1) - e) * q) * a;
        const real of_s = (graded ? grad * u : grad) + of_w_1 * ((real(1) - e) * q) * b;
        const real of_u = flushed((graded && s ? grad : real(0)) + (u < theta ? of_v_1 : real(0)) + slope * of_s);
        later[0] = of_u * d;
        later[1] = of_w_1 * e - of_u * (real(1) - d);
        of_input[0] = of_u * (real(1) - d);
        total[0] = total[0] + (of_u * v - of_u * (x - w_));
        total[1] = total[1] + (of_w_1 * w_ - of_w_1 * (a * v_1 + (s ? b : real(0))) * q);
        total[2] = total[2] + of_w_1 * ((real(1) - e) * q) * v_1;
        total[3] = total[3] + (s ? of_w_1 * ((real(1) - e) * q) : real(0));
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

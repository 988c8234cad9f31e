// A neuron of the kind AdaptiveLIF, printed from cuslayer/neurons/adaptive_lif.py by `python -m cuslayer.neurons`.
struct AdaptiveLIF {
    real theta, rise, scale_ref;  // of all neurons
    real a, b, e, f;  // of this neuron

    static constexpr int STATES = 4, INPUTS = 1, SAVED = 4, COLUMNS = 4;
    // Whether backward needs the states of the step before even where no constant is trained.
    static constexpr bool OLD = false;

    __device__ __forceinline__ void load(const real *numbers, const real *constants, long long period)
    {
        theta = numbers[0];
        rise = numbers[1];
        scale_ref = numbers[2];
        a = constants[0];
        b = constants[period];
        e = constants[2 * period];
        f = constants[3 * period];
    }

    // One step; returns whether the neuron fires.
    __device__ __forceinline__ bool forward(real *state, const real *input, real &potential, real *saved) const
    {
        const real i = state[0];
        const real v = state[1];
        const real h = state[2];
        const real r = state[3];
        const real x = input[0];
        const real current = flushed(a * i + x);
        const real voltage = flushed(b * v + current);
        const real above = flushed(e * h);
        const real refraction = flushed(f * r);
        const real u = voltage - refraction - above;
        const bool s = u >= theta;
        const real risen = s ? above + rise : above;
        const real refracted = s ? refraction + scale_ref * (theta + above) : refraction;
        state[0] = current;
        state[1] = voltage;
        state[2] = risen;
        state[3] = refracted;
        potential = u;
        saved[0] = above;
        saved[1] = current;
        saved[2] = voltage;
        saved[3] = refracted;
        return s;
    }

    // The states after a step, from its potential and its saved values.
    __device__ __forceinline__ void after(real *before, real u, const real *saved) const
    {
        const real above = saved[0];
        const real current = saved[1];
        const real voltage = saved[2];
        const real refracted = saved[3];
        const bool s = u >= theta;
        const real risen = s ? above + rise : above;
        before[0] = current;
        before[1] = voltage;
        before[2] = risen;
        before[3] = refracted;
    }

    // Back over a step, with the spike as a constant.
    __device__ __forceinline__ void backward_slayer(real *later, const real *before, const real *, real u, real grad,
        bool graded, real slope, real *of_input, real *total) const
    {
        const real later_i = later[0];
        const real later_v = later[1];
        const real later_h = later[2];
        const real later_r = later[3];
        const real i = before[0];
        const real v = before[1];
        const real h = before[2];
        const real r = before[3];
        const bool s = u >= theta;
        const real of_s = graded ? grad * u : grad;
        const real of_u = (graded && s ? grad : real(0)) + slope * of_s;
        const real of_refraction = flushed(later_r - of_u);
        const real of_above = flushed((s ? later_r : real(0)) * scale_ref + later_h - of_u);
        const real of_voltage = flushed(later_v + of_u);
        const real of_current = flushed(later_i + of_voltage);
        later[0] = of_current * a;
        later[1] = of_voltage * b;
        later[2] = of_above * e;
        later[3] = of_refraction * f;
        of_input[0] = of_current;
        total[0] = total[0] + of_current * i;
        total[1] = total[1] + of_voltage * v;
        total[2] = total[2] + of_above * h;
        total[3] = total[3] + of_refraction * r;
    }

    // Back over a step, with all that the spike changes.
    __device__ __forceinline__ void backward_exact(real *later, const real *before, const real *saved, real u,
        real grad, bool graded, real slope, real *of_input, real *total) const
    {
        const real later_i = later[0];
        const real later_v = later[1];
        const real later_h = later[2];
        const real later_r = later[3];
        const real i = before[0];
        const real v = before[1];
        const real h = before[2];
        const real r = before[3];
        const real above = saved[0];
        const bool s = u >= theta;
        const real of_s = (graded ? grad * u : grad) + later_r * (scale_ref * (theta + above)) + later_h * rise;
        const real of_u = (graded && s ? grad : real(0)) + slope * of_s;
        const real of_refraction = flushed(later_r - of_u);
        const real of_above = flushed((s ? later_r : real(0)) * scale_ref + later_h - of_u);
        const real of_voltage = flushed(later_v + of_u);
        const real of_current = flushed(later_i + of_voltage);
        later[0] = of_current * a;
        later[1] = of_voltage * b;
        later[2] = of_above * e;
        later[3] = of_refraction * f;
        of_input[0] = of_current;
        total[0] = total[0] + of_current * i;
        total[1] = total[1] + of_voltage * v;
        total[2] = total[2] + of_above * h;
        total[3] = total[3] + of_refraction * r;
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

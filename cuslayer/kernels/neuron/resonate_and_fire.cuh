// A neuron of the kind ResonateAndFire, printed from cuslayer/neurons/resonate_and_fire.py by `python -m cuslayer.neurons`.
struct ResonateAndFire {
    real theta, share, jump;  // of all neurons
    real p, q;  // of this neuron

    static constexpr int STATES = 2, INPUTS = 1, SAVED = 1, COLUMNS = 2;
    // Whether backward needs the states of the step before even where no constant is trained.
    static constexpr bool OLD = false;

    __device__ __forceinline__ void load(const real *numbers, const real *constants, long long period)
    {
        theta = numbers[0];
        share = numbers[1];
        jump = numbers[2];
        p = constants[0];
        q = constants[period];
    }

    // One step; returns whether the neuron fires.
    __device__ __forceinline__ bool forward(real *state, const real *input, real &potential, real *saved) const
    {
        const real re = state[0];
        const real im = state[1];
        const real x = input[0];
        const real z = flushed(p * re - q * im + x);
        const real u = flushed(q * re + p * im);
        const bool s = u >= theta;
        const real after_re = s ? share * z : z;
        const real after_im = s ? share * u + jump : u;
        state[0] = after_re;
        state[1] = after_im;
        potential = u;
        saved[0] = z;
        return s;
    }

    // The states after a step, from its potential and its saved values.
    __device__ __forceinline__ void after(real *before, real u, const real *saved) const
    {
        const real z = saved[0];
        const bool s = u >= theta;
        const real after_re = s ? share * z : z;
        const real after_im = s ? share * u + jump : u;
        before[0] = after_re;
        before[1] = after_im;
    }

    // Back over a step, as if the neuron had not fired.
    __device__ __forceinline__ void backward_slayer(real *later, const real *before, const real *, real u, real grad,
        bool graded, real slope, real *of_input, real *total) const
    {
        const real later_re = later[0];
        const real later_im = later[1];
        const real re = before[0];
        const real im = before[1];
        const bool s = u >= theta;
        const real of_s = graded ? grad * u : grad;
        const real of_u = flushed((graded && s ? grad : real(0)) + later_im + slope * of_s);
        const real of_z = flushed(later_re);
        later[0] = of_u * q + of_z * p;
        later[1] = of_u * p - of_z * q;
        of_input[0] = of_z;
        total[0] = total[0] + (of_u * im + of_z * re);
        total[1] = total[1] + (of_u * re - of_z * im);
    }

    // Back over a step, with all that the spike changes.
    __device__ __forceinline__ void backward_exact(real *later, const real *before, const real *saved, real u,
        real grad, bool graded, real slope, real *of_input, real *total) const
    {
        const real later_re = later[0];
        const real later_im = later[1];
        const real re = before[0];
        const real im = before[1];
        const real z = saved[0];
        const bool s = u >= theta;
        const real of_s = (graded ? grad * u : grad) + later_im * ((share - real(1)) * u + jump) + later_re * ((share -
            real(1)) * z);
        const real of_u = flushed((graded && s ? grad : real(0)) + (s ? later_im : real(0)) * share + (s ? real(0) :
            later_im) + slope * of_s);
        const real of_z = flushed((s ? later_re : real(0)) * share + (s ? real(0) : later_re));
        later[0] = of_u * q + of_z * p;
        later[1] = of_u * p - of_z * q;
        of_input[0] = of_z;
        total[0] = total[0] + (of_u * im + of_z * re);
        total[1] = total[1] + (of_u * re - of_z * im);
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

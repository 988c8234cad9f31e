// A neuron of the kind BalancedResonateAndFire, printed from cuslayer/neurons/balanced_resonate_and_fire.py by `python -m cuslayer.neurons`.
struct BalancedResonateAndFire {
    real delta, theta, gamma;  // of all neurons
    real damped, turned;  // of this neuron

    static constexpr int STATES = 3, INPUTS = 1, SAVED = 3, COLUMNS = 2;
    // Whether backward needs the states of the step before even where no constant is trained.
    static constexpr bool OLD = true;

    __device__ __forceinline__ void load(const real *numbers, const real *constants, long long period)
    {
        delta = numbers[0];
        theta = numbers[1];
        gamma = numbers[2];
        damped = constants[0];
        turned = constants[period];
    }

    // One step; returns whether the neuron fires.
    __device__ __forceinline__ bool forward(real *state, const real *input, real &potential, real *saved) const
    {
        const real re = state[0];
        const real im = state[1];
        const real q = state[2];
        const real x = input[0];
        const real share = damped - delta * q;
        const real z = flushed(share * re - turned * im + delta * x);
        const real v = flushed(turned * re + share * im);
        const real u = z - q;
        const bool s = u >= theta;
        const real left = flushed(gamma * q);
        const real risen = s ? left + real(1) : left;
        state[0] = z;
        state[1] = v;
        state[2] = risen;
        potential = u;
        saved[0] = share;
        saved[1] = z;
        saved[2] = v;
        return s;
    }

    // The states after a step, from its potential and its saved values.
    __device__ __forceinline__ void after(real *before, real , const real *saved) const
    {
        const real z = saved[1];
        const real v = saved[2];
        before[0] = z;
        before[1] = v;
    }

    // Back over a step, with the spike as a constant.
    __device__ __forceinline__ void backward_slayer(real *later, const real *before, const real *saved, real u,
        real grad, bool graded, real slope, real *of_input, real *total) const
    {
        const real later_re = later[0];
        const real later_im = later[1];
        const real re = before[0];
        const real im = before[1];
        const real share = saved[0];
        const bool s = u >= theta;
        const real of_s = graded ? grad * u : grad;
        const real of_u = (graded && s ? grad : real(0)) + slope * of_s;
        const real of_v = flushed(later_im);
        const real of_z = flushed(later_re + of_u);
        const real of_share = of_v * im + of_z * re;
        later[0] = of_v * turned + of_z * share;
        later[1] = of_v * share - of_z * turned;
        later[2] = real(0);
        of_input[0] = of_z * delta;
        total[0] = total[0] + of_share;
        total[1] = total[1] + (of_v * re - of_z * im);
    }

    // Back over a step, with all that the spike changes.
    __device__ __forceinline__ void backward_exact(real *later, const real *before, const real *saved, real u,
        real grad, bool graded, real slope, real *of_input, real *total) const
    {
        const real later_re = later[0];
        const real later_im = later[1];
        const real later_q = later[2];
        const real re = before[0];
        const real im = before[1];
        const real share = saved[0];
        const bool s = u >= theta;
        const real of_left = flushed(later_q);
        const real of_s = (graded ? grad * u : grad) + later_q;
        const real of_u = (graded && s ? grad : real(0)) + slope * of_s;
        const real of_v = flushed(later_im);
        const real of_z = flushed(later_re + of_u);
        const real of_share = of_v * im + of_z * re;
        later[0] = of_v * turned + of_z * share;
        later[1] = of_v * share - of_z * turned;
        later[2] = of_left * gamma - of_u - of_share * delta;
        of_input[0] = of_z * delta;
        total[0] = total[0] + of_share;
        total[1] = total[1] + (of_v * re - of_z * im);
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

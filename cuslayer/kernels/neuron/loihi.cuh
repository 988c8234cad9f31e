// A neuron of the kind Loihi, printed from cuslayer/neurons/loihi.py by `python -m cuslayer.neurons`.
struct Loihi {
    real i_keep, gain, v_keep, theta, mark, hold;  // of all neurons

    static constexpr int STATES = 3, INPUTS = 1, SAVED = 0, COLUMNS = 0;

    __device__ __forceinline__ void load(const real *numbers, const real *, long long)
    {
        i_keep = numbers[0];
        gain = numbers[1];
        v_keep = numbers[2];
        theta = numbers[3];
        mark = numbers[4];
        hold = numbers[5];
    }

    // One step; returns whether the neuron fires.
    __device__ __forceinline__ bool forward(real *state, const real *input, real &potential, real *) const
    {
        const real i = state[0];
        const real v = state[1];
        const real wait = state[2];
        const real x = input[0];
        const real upper = trunc(i * real(0.000244140625));
        const real lower = i - upper * real(4096);
        const real current = upper * i_keep + trunc(lower * i_keep * real(0.000244140625)) + rint(x * gain);
        const real current_1 = current > real(8388607) ? real(8388607) : current >= -real(8388607) ? current :
            -real(8388607);
        const real upper_1 = trunc(v * real(0.000244140625));
        const real lower_1 = v - upper_1 * real(4096);
        const real free = upper_1 * v_keep + trunc(lower_1 * v_keep * real(0.000244140625)) + current_1;
        const real free_1 = free > real(8388607) ? real(8388607) : free >= -real(8388607) ? free : -real(8388607);
        const real value = wait > real(0) ? real(0) : free_1;
        const bool s = value > theta;
        const real recorded = s ? (mark != real(0) ? mark : value) : value;
        const real left = s ? real(0) : value;
        const real waits = s ? hold : wait - real(1);
        state[0] = current_1;
        state[1] = left;
        state[2] = waits;
        potential = recorded;
        return s;
    }
};

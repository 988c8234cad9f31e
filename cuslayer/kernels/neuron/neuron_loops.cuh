// Neurons of any kind over time. A kind is a struct that `python -m cuslayer.neurons` prints from the step of its neuron:
// its constants, `forward` and `backward` of one neuron at one step.
//
// Layout: arrays are (steps, columns), C-contiguous; x is (inputs, steps, columns), saved (values, steps, columns), states
// (states, columns), constants (constants, period): column m has the constants at m % period; numbers has the constants of all neurons.
// A thread computes one column, step by step; its states stay in registers.
// Precision: `real` throughout; compiled without fused multiply-add, forward equals the CPU's to the bit. Backward differs
// by the rounding of exp.
// Twin: kernels/neuron/cpu.py. Tests: tests/kernels/test_twins_neuron.py.

template <typename Kind>
__device__ __forceinline__ void run_forward(
    const real *__restrict__ x, const real *__restrict__ numbers, const real *__restrict__ constants, real *__restrict__ states,
    real *__restrict__ u, bool *__restrict__ s, real *__restrict__ saved, long long steps, long long columns,
    long long period, bool held, int saves)
{
    GRID_STRIDE(m, columns) {
        Kind kind;
        kind.load(numbers, constants + m % period, period);
        real state[Kind::STATES];
#pragma unroll
        for (int i = 0; i < Kind::STATES; ++i)
            state[i] = held ? states[i * columns + m] : real(0);
        for (long long t = 0; t < steps; t += AHEAD) {
            real entering[Kind::INPUTS][AHEAD];
#pragma unroll
            for (int i = 0; i < Kind::INPUTS; ++i)
                read_rows<1>(entering[i], x + i * steps * columns, t, steps, columns, m);
#pragma unroll
            for (int k = 0; k < AHEAD; ++k)
                if (t + k < steps) {
                    const long long at = (t + k) * columns + m;
                    real input[Kind::INPUTS], kept[Kind::SAVED + 1], potential;
#pragma unroll
                    for (int i = 0; i < Kind::INPUTS; ++i)
                        input[i] = entering[i][k];
                    s[at] = kind.forward(state, input, potential, kept);
                    u[at] = potential;
#pragma unroll
                    for (int i = 0; i < Kind::SAVED; ++i)
                        if (i < saves)
                            saved[i * steps * columns + at] = kept[i];
                }
        }
        if (held)
#pragma unroll
            for (int i = 0; i < Kind::STATES; ++i)
                states[i * columns + m] = state[i];
    }
}

// Reads the saved values of a step; those that forward has not saved are not used.
template <typename Kind>
__device__ __forceinline__ void read_saved(
    real (&kept)[Kind::SAVED + 1], const real *__restrict__ saved, long long at, long long size, int saves)
{
#pragma unroll
    for (int i = 0; i < Kind::SAVED; ++i)
        kept[i] = i < saves ? saved[i * size + at] : real(0);
}

template <bool exact, bool trained, typename Kind>
__device__ __forceinline__ void run_backward(
    Slope slope, const real *__restrict__ g, const real *__restrict__ u, const real *__restrict__ saved,
    const real *__restrict__ states, const real *__restrict__ numbers, const real *__restrict__ constants,
    real *__restrict__ y, real *__restrict__ sums, real *__restrict__ after, long long steps, long long columns,
    long long period, bool held, int saves, bool graded)
{
    const long long size = steps * columns;
    GRID_STRIDE(m, columns) {
        Kind kind;
        kind.load(numbers, constants + m % period, period);
        real later[Kind::STATES] = {}, total[Kind::COLUMNS + 1] = {};
        if (after)
#pragma unroll
            for (int i = 0; i < Kind::STATES; ++i)
                later[i] = after[i * columns + m];
        for (long long t = steps - 1; t >= 0; --t) {
            const long long at = t * columns + m;
            real kept[Kind::SAVED + 1], before[Kind::STATES] = {}, of_input[Kind::INPUTS];
            read_saved<Kind>(kept, saved, at, size, saves);
            if ((trained || Kind::OLD) && t > 0) {
                real earlier[Kind::SAVED + 1];
                read_saved<Kind>(earlier, saved, at - columns, size, saves);
                kind.after(before, u[at - columns], earlier);
            } else if ((trained || Kind::OLD) && held) {
#pragma unroll
                for (int i = 0; i < Kind::STATES; ++i)
                    before[i] = states[i * columns + m];
            }
            const real potential = u[at];
            const real rise = slope(potential);
            kind.template backward<exact>(later, before, kept, potential, g[at], graded, rise, of_input, total);
#pragma unroll
            for (int i = 0; i < Kind::INPUTS; ++i)
                y[i * size + at] = of_input[i];
        }
        if (after)
#pragma unroll
            for (int i = 0; i < Kind::STATES; ++i)
                after[i * columns + m] = later[i];
        if (trained)
#pragma unroll
            for (int i = 0; i < Kind::COLUMNS; ++i)
                sums[i * columns + m] = total[i];
    }
}

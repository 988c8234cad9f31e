// Neurons of any kind over time. A kind is a struct that kernels/step/print_cuda.py prints from the step of its neuron:
// its constants, `forward` and `backward` of one neuron at one step.
//
// Layout: arrays are (steps, columns), C-contiguous; x is (inputs, steps, columns), saved (values, steps, columns), states
// (states, columns), constants (constants, period): column m has the constants at m % period. c has the constants of all
// neurons.
// A thread computes one column, step by step; its states stay in registers. Rows are read in batches. An input
// that is used again is read a second time, mostly from the L2 cache; the last 64 spikes are kept in a register. What
// backward uses again is computed again from the gradient and the potential, if it follows from these, since to store it
// would cost another write and read; else it is stored.
// Precision: `real` throughout; compiled without fused multiply-add, forward equals the CPU's to the bit. Backward differs
// by the rounding of exp.
// Twin: kernels/scan/cpu.py. Tests: tests/kernels/test_twins_neuron.py.

// Blocks of a multiprocessor, which limit the registers of a thread.
constexpr int RESIDENT = sizeof(real) == 4 && Kind::PAST_INPUTS < 2 ? 6 : 4;

// The largest number of steps after which a spike that is used again is in a register.
constexpr long long REGISTER_STEPS = 64;

// The weighted input as it is.
struct Weighted {
    __device__ __forceinline__ Weighted of_column(long long) const
    {
        return *this;
    }

    __device__ __forceinline__ real operator()(real x, bool) const
    {
        return x;
    }
};

// `source.of_column(m)` maps the numbers that are read of a column, and 0 where there was no step.
template <typename Kind, typename Source>
__device__ __forceinline__ void run_forward(
    const Numbers &c, const Source &sources, const real *__restrict__ x, const real *__restrict__ constants, real *__restrict__ states,
    real *__restrict__ u, bool *s, real *__restrict__ saved, long long steps, long long columns, bool held, int saves)
{
    const long long size = steps * columns;
    GRID_STRIDE(m, columns) {
        Kind kind;
        kind.load(constants + m % c.period, c.period);
        const auto source = sources.of_column(m);
        unsigned long long recent = 0;
        real state[Kind::STATES];
#pragma unroll
        for (int i = 0; i < Kind::STATES; ++i)
            state[i] = held ? states[i * columns + m] : real(0);
        for (long long t = 0; t < steps; t += AHEAD) {
            real entering[Kind::INPUTS][AHEAD], leaving[Kind::PAST_INPUTS + 1][AHEAD];
            bool old[Kind::PAST_SPIKES + 1][AHEAD] = {};
#pragma unroll
            for (int i = 0; i < Kind::INPUTS; ++i)
                read_rows<1>(entering[i], x + i * size, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < Kind::PAST_INPUTS; ++i)
                read_rows<1>(leaving[i], x + Kind::input_of(i) * size, t - Kind::input_lag(c, i), steps, columns, m);
#pragma unroll
            for (int i = 0; i < Kind::PAST_SPIKES; ++i)
                if (Kind::spike_lag(c, i) > REGISTER_STEPS)
                    read_rows<1>(old[i], s, t - Kind::spike_lag(c, i), steps, columns, m);
#pragma unroll
            for (int k = 0; k < AHEAD; ++k)
                if (t + k < steps) {
                    const long long at = (t + k) * columns + m;
                    real input[Kind::INPUTS], left[Kind::PAST_INPUTS + 1], spikes[Kind::PAST_SPIKES + 1];
                    real kept[Kind::SAVED + 1], potential;
#pragma unroll
                    for (int i = 0; i < Kind::INPUTS; ++i)
                        input[i] = source(entering[i][k], true);
#pragma unroll
                    for (int i = 0; i < Kind::PAST_INPUTS; ++i)
                        left[i] = source(leaving[i][k], t + k >= Kind::input_lag(c, i));
#pragma unroll
                    for (int i = 0; i < Kind::PAST_SPIKES; ++i) {
                        const long long lag = Kind::spike_lag(c, i);
                        spikes[i] = lag > REGISTER_STEPS ? old[i][k] : recent >> (lag - 1) & 1;
                    }
                    const bool fires = kind.forward(c, state, input, left, spikes, k, potential, kept);
                    recent = recent << 1 | fires;
                    if (Kind::FIRES)
                        s[at] = fires;
                    u[at] = potential;
#pragma unroll
                    for (int i = 0; i < Kind::SAVED; ++i)
                        if (i < saves)
                            saved[i * size + at] = kept[i];
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

// What backward reads and writes.
struct Sweep {
    const real *__restrict__ g;
    const real *__restrict__ u;
    const real *__restrict__ saved;
    const real *__restrict__ states;
    const real *__restrict__ constants;
    real *again;  // (values, steps, columns), what earlier steps use again
    real *__restrict__ y;
    real *__restrict__ sums;   // null if constants are not trained
    real *__restrict__ later;  // null if there are none
    long long steps, columns;
    bool held, graded;
    int saves;
};

// Steps of a batch of backward: with several inputs, or several earlier ones, more take too many registers.
template <typename Kind>
constexpr int BATCH = Kind::INPUTS == 1 && Kind::PAST_INPUTS < 2 ? AHEAD : 1;

// Column m of the rows t, t - 1, ... of a batch; their loads overlap.
template <int batch>
__device__ __forceinline__ void read_back(
    real (&rows)[batch], const real *x, long long t, long long steps, long long columns, long long m)
{
#pragma unroll
    for (int i = 0; i < batch; ++i)
        rows[i] = read_row(x, t - i, steps, columns, m);
}

// The values that the steps t, t - 1, ... of a batch use again.
template <bool exact, typename Kind>
struct Again {
    static constexpr int PAST = Kind::template PAST<exact>;
    static constexpr bool RECOMPUTED = Kind::template RECOMPUTED<exact>;
    real grad[PAST + 1][BATCH<Kind>], value[PAST + 1][BATCH<Kind>];

    __device__ __forceinline__ void read(const Numbers &c, const Sweep &of, long long t, long long m)
    {
#pragma unroll
        for (int i = 0; i < PAST; ++i) {
            const long long lag = Kind::template later_lag<exact>(c, i), from = t + lag;
            if (RECOMPUTED) {
                read_back(grad[i], of.g, from, of.steps, of.columns, m);
                read_back(value[i], of.u, from, of.steps, of.columns, m);
            } else if (lag >= BATCH<Kind>)  // else it is of this batch
                read_back(value[i], row_of(of, i), from, of.steps, of.columns, m);
        }
    }

    template <typename Slope>
    __device__ __forceinline__ void at(
        real (&past)[PAST + 1], const Numbers &c, const Kind &kind, const Slope &slope, const Sweep &of, long long t, int k,
        long long m) const
    {
#pragma unroll
        for (int i = 0; i < PAST; ++i) {
            const long long lag = Kind::template later_lag<exact>(c, i);
            if (RECOMPUTED) {
                real terms[Kind::template TERMS<exact> + 1];
                kind.template terms<exact>(c, slope, value[i][k], grad[i][k], of.graded, terms);
                past[i] = t - k + lag < of.steps ? terms[Kind::template later_kept<exact>(i)] : real(0);
            } else
                past[i] = lag >= BATCH<Kind> ? value[i][k] : read_row(row_of(of, i), t - k + lag, of.steps, of.columns, m);
        }
    }

    __device__ __forceinline__ static const real *row_of(const Sweep &of, int i)
    {
        return of.again + Kind::template later_kept<exact>(i) * of.steps * of.columns;
    }
};

template <bool exact, typename Kind, typename Slope>
__device__ __forceinline__ void run_backward(const Numbers &c, const Slope &slope, const Sweep &of)
{
    constexpr int KEPT = Kind::template KEPT<exact>;
    const bool old = of.sums || Kind::template OLD<exact>;
    const long long steps = of.steps, columns = of.columns, size = steps * columns;
    GRID_STRIDE(m, columns) {
        Kind kind;
        kind.load(of.constants + m % c.period, c.period);
        real later[Kind::STATES] = {}, total[Kind::COLUMNS + 1] = {};
        if (of.later)
#pragma unroll
            for (int i = 0; i < Kind::STATES; ++i)
                later[i] = of.later[i * columns + m];
        for (long long t = end_of_batch(steps - 1); t >= 0; t -= BATCH<Kind>) {
            real grad[BATCH<Kind>], potential[BATCH<Kind>];
            Again<exact, Kind> again;
            read_back(grad, of.g, t, steps, columns, m);
            read_back(potential, of.u, t, steps, columns, m);
            again.read(c, of, t, m);
#pragma unroll
            for (int k = 0; k < BATCH<Kind>; ++k)
                if (t - k < steps) {
                    const long long at = (t - k) * columns + m, number = BATCH<Kind> == AHEAD ? AHEAD - 1 - k : t;
                    real kept[Kind::SAVED + 1], before[Kind::STATES] = {}, of_input[Kind::INPUTS];
                    real terms[Kind::template TERMS<exact> + 1], past[Kind::template PAST<exact> + 1], values[KEPT + 1];
                    read_saved<Kind>(kept, of.saved, at, size, of.saves);
                    if (old && t - k > 0) {
                        real earlier[Kind::SAVED + 1];
                        read_saved<Kind>(earlier, of.saved, at - columns, size, of.saves);
                        kind.after(c, before, of.u[at - columns], earlier);
                    } else if (old && of.held) {
#pragma unroll
                        for (int i = 0; i < Kind::STATES; ++i)
                            before[i] = of.states[i * columns + m];
                    }
                    again.at(past, c, kind, slope, of, t, k, m);
                    kind.template terms<exact>(c, slope, potential[k], grad[k], of.graded, terms);
                    kind.template backward<exact>(
                        c, later, before, kept, terms, past, of.graded, number, of_input, total, values);
                    if (!Kind::template RECOMPUTED<exact>)
#pragma unroll
                        for (int i = 0; i < KEPT; ++i)
                            of.again[i * size + at] = values[i];
#pragma unroll
                    for (int i = 0; i < Kind::INPUTS; ++i)
                        of.y[i * size + at] = of_input[i];
                }
        }
        if (of.later)
#pragma unroll
            for (int i = 0; i < Kind::STATES; ++i)
                of.later[i * columns + m] = later[i];
        if (of.sums)
#pragma unroll
            for (int i = 0; i < Kind::COLUMNS; ++i)
                of.sums[i * columns + m] = total[i];
    }
}

// Neurons of a population, of any kind, with states in memory: `Kind` is the struct of the kind.

// Reads the saved values of a step; those that forward has not saved are not used.
__device__ __forceinline__ void read_saved(
    real (&kept)[Kind::SAVED + 1], const Population &of, const real *saved, long long at, const Place &place)
{
#pragma unroll
    for (int i = 0; i < Kind::SAVED; ++i)
        kept[i] = i < of.saves ? saved[i * of.steps * place.columns + at] : real(0);
}

// Returns the potential; z has the weighted inputs that later steps use again.
__device__ __forceinline__ real neuron_forward(
    const Population &of, const Fired &spikes, real *z, real *saved, const Place &place, real given, bool &fires)
{
    const Numbers &c = of.numbers;
    Kind neuron;
    neuron.load(of.constants + place.neuron % c.period, c.period);
    real state[Kind::STATES], kept[Kind::SAVED + 1], left[Kind::PAST_INPUTS + 1], old[Kind::PAST_SPIKES + 1], potential;
#pragma unroll
    for (int i = 0; i < Kind::STATES; ++i)
        state[i] = state_of(of, i, place, place.step == 0);
    const long long row = place.at + of.rows * place.columns;
#pragma unroll
    for (int i = 0; i < Kind::PAST_INPUTS; ++i) {
        const long long lag = Kind::input_lag(c, i);
        left[i] = place.step + of.rows >= lag ? z[row - lag * place.columns] : real(0);
    }
#pragma unroll
    for (int i = 0; i < Kind::PAST_SPIKES; ++i) {
        const long long then = place.step - Kind::spike_lag(c, i), before = then + of.past;
        old[i] = then >= 0 ? spikes.at(place, then) : before >= 0 && of.earlier[before * place.columns + place.column];
    }
    fires = neuron.forward(c, state, &given, left, old, of.start + place.step, potential, kept);
    if (Kind::PAST_INPUTS)
        z[row] = given;
#pragma unroll
    for (int i = 0; i < Kind::STATES; ++i)
        of.states[i * place.columns + place.column] = state[i];
#pragma unroll
    for (int i = 0; i < Kind::SAVED; ++i)
        if (i < of.saves)
            saved[i * of.steps * place.columns + place.at] = kept[i];
    return potential;
}

// Returns the gradient of the weighted input; `again` has what earlier steps use again.
template <bool exact>
__device__ __forceinline__ real neuron_backward(
    const Population &of, const Slope &slope, const real *u, const real *saved, real *again, const Place &place,
    real grad)
{
    constexpr int PAST = Kind::PAST<exact>, KEPT = Kind::KEPT<exact>;
    const Numbers &c = of.numbers;
    const bool begins = place.step == of.steps - 1;
    Kind neuron;
    neuron.load(of.constants + place.neuron % c.period, c.period);
    real later[Kind::STATES], before[Kind::STATES] = {}, kept[Kind::SAVED + 1], total[Kind::COLUMNS + 1] = {};
    real terms[Kind::TERMS<exact> + 1], past[PAST + 1], values[KEPT + 1], of_input;
    read_saved(kept, of, saved, place.at, place);
    const bool old = Kind::OLD<exact> || of.sums;
    if (old && place.step > 0) {
        real earlier[Kind::SAVED + 1];
        read_saved(earlier, of, saved, place.at - place.columns, place);
        neuron.after(c, before, u[place.at - place.columns], earlier);
    } else if (old && of.start > 0)
#pragma unroll
        for (int i = 0; i < Kind::STATES; ++i)
            before[i] = of.first[i * place.columns + place.column];
#pragma unroll
    for (int i = 0; i < Kind::STATES; ++i)
        later[i] = state_of(of, i, place, begins);
    const long long rows = of.steps + of.rows, left = rows - place.step;
#pragma unroll
    for (int i = 0; i < PAST; ++i) {
        const long long lag = Kind::later_lag<exact>(c, i);
        const real *const value = again + Kind::later_kept<exact>(i) * rows * place.columns + place.at;
        past[i] = lag < left ? value[lag * place.columns] : real(0);
    }
    neuron.template terms<exact>(c, slope, u[place.at], grad, of.graded, terms);
    neuron.template backward<exact>(
        c, later, before, kept, terms, past, of.graded, of.start + place.step, &of_input, total, values);
#pragma unroll
    for (int i = 0; i < KEPT; ++i)
        again[i * rows * place.columns + place.at] = values[i];
#pragma unroll
    for (int i = 0; i < Kind::STATES; ++i)
        of.states[i * place.columns + place.column] = later[i];
    if (of.sums)
#pragma unroll
        for (int i = 0; i < Kind::COLUMNS; ++i) {
            real *const sum = of.sums + i * place.columns + place.column;
            *sum = begins ? total[i] : *sum + total[i];
        }
    return of_input;
}

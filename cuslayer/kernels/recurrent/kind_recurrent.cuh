// Neurons of a population that are written as a step, in the place of srm_recurrent.cuh: `Kind` is the struct of one kind.

__device__ __forceinline__ real neuron_forward(
    const Population &of, const Fired &, real *saved, real, const Place &place, real given, bool &fires)
{
    Kind neuron;
    neuron.load(of.numbers, of.constants + place.neuron % of.period, of.period);
    real state[Kind::STATES], kept[Kind::SAVED + 1], potential;
#pragma unroll
    for (int i = 0; i < Kind::STATES; ++i)
        state[i] = state_of(of, i, place, place.step == 0);
    fires = neuron.forward(state, &given, potential, kept);
#pragma unroll
    for (int i = 0; i < Kind::STATES; ++i)
        of.states[i * place.columns + place.column] = state[i];
#pragma unroll
    for (int i = 0; i < Kind::SAVED; ++i)
        if (i < of.saves)
            saved[i * of.steps * place.columns + place.at] = kept[i];
    return potential;
}

template <bool exact, typename Of = Kind>
__device__ __forceinline__ real neuron_backward(
    const Population &of, const Slope &slope, const real *u, const real *saved, real *, const Place &place, real grad)
{
    Of neuron;
    neuron.load(of.numbers, of.constants + place.neuron % of.period, of.period);
    real later[Of::STATES], before[Of::STATES] = {}, kept[Of::SAVED + 1], total[Of::COLUMNS + 1] = {}, of_input;
    const long long size = of.steps * place.columns;
    read_saved<Of>(kept, saved, place.at, size, of.saves);
    if ((Of::OLD || of.sums) && place.step > 0) {
        real earlier[Of::SAVED + 1];
        read_saved<Of>(earlier, saved, place.at - place.columns, size, of.saves);
        neuron.after(before, u[place.at - place.columns], earlier);
    } else if ((Of::OLD || of.sums) && of.start > 0)
#pragma unroll
        for (int i = 0; i < Of::STATES; ++i)
            before[i] = of.first[i * place.columns + place.column];
#pragma unroll
    for (int i = 0; i < Of::STATES; ++i)
        later[i] = state_of(of, i, place, place.step == of.steps - 1);
    const real potential = u[place.at], rise = slope(potential);
    neuron.template backward<exact>(later, before, kept, potential, grad, false, rise, &of_input, total);
#pragma unroll
    for (int i = 0; i < Of::STATES; ++i)
        of.states[i * place.columns + place.column] = later[i];
    if (of.sums)
#pragma unroll
        for (int i = 0; i < Of::COLUMNS; ++i) {
            real *const sum = of.sums + i * place.columns + place.column;
            *sum = place.step == of.steps - 1 ? total[i] : *sum + total[i];
        }
    return of_input;
}

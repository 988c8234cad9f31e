// Spike response neurons of a population: srm_forward and srm_backward of common.cuh, with states in memory.

// Reads the states of a filter, columns of two rows of memory.
__device__ __forceinline__ Recurrence load(
    const Filter &filter, const Population &of, int number, const Place &place, bool begins)
{
    Recurrence found = recurrence_of(filter);
    found.q = state_of(of, number, place, begins);
    found.p = state_of(of, number + 1, place, begins);
    return found;
}

__device__ __forceinline__ void store(const Recurrence &found, real *states, const Place &place)
{
    states[place.column] = found.q;
    states[place.columns + place.column] = found.p;
}

// Returns the potential; z has the weighted inputs.
__device__ __forceinline__ real neuron_forward(
    const Population &of, const Fired &spikes, real *z, real theta, const Place &place, real given, bool &fires)
{
    const bool begins = place.step == 0;
    const long long cut = of.response.cut, old = place.step - of.refractory.cut, row = place.at + of.rows * place.columns;
    Recurrence f = load(of.response, of, 0, place, begins), nu = load(of.refractory, of, 2, place, begins);
    const real leaving = place.step + of.rows >= cut ? z[row - cut * place.columns] : real(0);
    const real old_spike =
        old >= 0 ? spikes.at(place, old) : old + of.past >= 0 && of.earlier[(old + of.past) * place.columns + place.column];
    const real value = srm_forward(f, nu, of.start + place.step, theta, given, leaving, old_spike, fires);
    z[row] = given;
    store(f, of.states, place);
    store(nu, of.states + 2 * place.columns, place);
    return value;
}

// Returns the gradient of the weighted input.
template <bool exact>
__device__ __forceinline__ real neuron_backward(
    const Population &of, const Slope &slope, const real *u, const real *, real *g_u, const Place &place, real grad)
{
    const bool begins = place.step == of.steps - 1;
    const long long t = of.start + place.step, cut = of.response.cut, ref_cut = of.refractory.cut;
    const long long left = of.steps + of.rows - place.step;
    Recurrence f = load(of.response, of, 0, place, begins);
    const real rho = slope(u[place.at]), leaving = cut < left ? g_u[place.at + cut * place.columns] : real(0);
    real value = flushed(rho * grad), filtered;
    if (exact) {
        Recurrence nu = load(of.refractory, of, 2, place, begins);
        const real old = ref_cut < left ? g_u[place.at + ref_cut * place.columns] : real(0);
        filtered = srm_backward(f, nu, t, rho, grad, leaving, old, value);
        store(nu, of.states + 2 * place.columns, place);
    } else
        filtered = f.step(t, value, leaving);
    g_u[place.at] = value;
    store(f, of.states, place);
    return filtered;
}

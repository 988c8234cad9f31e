// Spike response neurons of a population: srm_forward and srm_backward of common.cuh, with states in memory.

// Reads the states of a filter, columns of two rows of memory; at the first step of a sweep they are 0.
__device__ __forceinline__ Recurrence load(const Filter &of, const real *states, const Place &place, bool begins)
{
    Recurrence found = recurrence_of(of);
    found.q = state_of(states, 0, place, begins);
    found.p = state_of(states, 1, place, begins);
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
    const long long cut = of.response.cut, ref_cut = of.refractory.cut;
    real *const ref_states = of.states + 2 * place.columns;
    Recurrence f = load(of.response, of.states, place, begins), nu = load(of.refractory, ref_states, place, begins);
    const real leaving = place.step >= cut ? z[place.at - cut * place.columns] : real(0);
    const real old_spike = place.step >= ref_cut && spikes.at(place, place.step - ref_cut);
    const real value = srm_forward(f, nu, place.step, theta, given, leaving, old_spike, fires);
    z[place.at] = given;
    store(f, of.states, place);
    store(nu, ref_states, place);
    return value;
}

// Returns the gradient of the weighted input.
template <bool exact>
__device__ __forceinline__ real neuron_backward(
    const Population &of, const Slope &slope, const real *u, const real *, real *g_u, const Place &place, real grad)
{
    const bool begins = place.step == of.steps - 1;
    const long long t = place.step, cut = of.response.cut, ref_cut = of.refractory.cut;
    real *const ref_states = of.states + 2 * place.columns;
    Recurrence f = load(of.response, of.states, place, begins);
    const real rho = slope(u[place.at]), leaving = t + cut < of.steps ? g_u[place.at + cut * place.columns] : real(0);
    real value = flushed(rho * grad), filtered;
    if (exact) {
        Recurrence nu = load(of.refractory, ref_states, place, begins);
        const real old = t + ref_cut < of.steps ? g_u[place.at + ref_cut * place.columns] : real(0);
        filtered = srm_backward(f, nu, t, rho, grad, leaving, old, value);
        store(nu, ref_states, place);
    } else
        filtered = f.step(t, value, leaving);
    g_u[place.at] = value;
    store(f, of.states, place);
    return filtered;
}

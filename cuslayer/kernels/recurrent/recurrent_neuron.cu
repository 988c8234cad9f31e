// Populations of neurons that are written as a step, with a dense layer from their own spikes to themselves: see
// recurrent_loops.cuh. For a kind other than LIF, gpu.py puts its struct in the place of the next include.

#include "lif.cuh"
typedef LIF Kind;
#include "surrogate_shapes.cuh"
#include "neuron_loops.cuh"
#include "recurrent_loops.cuh"

// Neurons that are written as a step, as the loops above take them.
template <typename Kind>
struct Stepped {
    const real *numbers;    // constants of all neurons
    const real *constants;  // (constants, period)
    real *states;           // (states, samples, neurons)
    real *saved;            // (saves, steps, samples, neurons)
    unsigned *fired;        // (steps, samples, words of neurons)
    unsigned *by_neuron;    // (neurons, samples, words of steps)
    long long steps, period, time_words, samples;
    int saves;

    __device__ __forceinline__ void write(const Place &place, bool fires) const
    {
        unsigned *const word = by_neuron + (place.neuron * samples + blockIdx.x) * time_words + place.step / LANES;
        const int bit = place.step % LANES;
        if (bit == 0)
            *word = fires;
        else if (fires)
            *word |= 1u << bit;
    }

    __device__ __forceinline__ void write_mask(long long at, unsigned ballot) const { fired[at] = ballot; }

    __device__ __forceinline__ real forward(const Place &place, real given, bool &fires) const
    {
        Kind neuron;
        neuron.load(numbers, constants + place.neuron % period, period);
        real state[Kind::STATES], kept[Kind::SAVED + 1], potential;
#pragma unroll
        for (int i = 0; i < Kind::STATES; ++i)
            state[i] = state_of(states, i, place, place.step == 0);
        fires = neuron.forward(state, &given, potential, kept);
#pragma unroll
        for (int i = 0; i < Kind::STATES; ++i)
            states[i * place.columns + place.column] = state[i];
#pragma unroll
        for (int i = 0; i < Kind::SAVED; ++i)
            if (i < saves)
                saved[i * steps * place.columns + place.at] = kept[i];
        return potential;
    }
};

template <bool exact, typename Kind>
struct SteppedAdjoint {
    Slope slope;
    const real *numbers;    // constants of all neurons
    const real *constants;  // (constants, period)
    real *states;           // (states, samples, neurons), gradients
    const real *saved;      // (saves, steps, samples, neurons)
    const real *u;          // (steps, samples, neurons)
    long long steps, period;
    int saves;

    __device__ __forceinline__ real backward(const Place &place, real grad, real potential) const
    {
        Kind neuron;
        neuron.load(numbers, constants + place.neuron % period, period);
        real later[Kind::STATES], before[Kind::STATES] = {}, kept[Kind::SAVED + 1], total[Kind::COLUMNS + 1], of_input;
        const long long size = steps * place.columns;
        read_saved<Kind>(kept, saved, place.at, size, saves);
        if (Kind::OLD && place.step > 0) {
            real earlier[Kind::SAVED + 1];
            read_saved<Kind>(earlier, saved, place.at - place.columns, size, saves);
            neuron.after(before, u[place.at - place.columns], earlier);
        }
#pragma unroll
        for (int i = 0; i < Kind::STATES; ++i)
            later[i] = state_of(states, i, place, place.step == steps - 1);
        const real rise = slope(neuron.distance(potential));
        neuron.template backward<exact>(later, before, kept, potential, grad, false, rise, &of_input, total);
#pragma unroll
        for (int i = 0; i < Kind::STATES; ++i)
            states[i * place.columns + place.column] = later[i];
        return of_input;
    }
};

extern "C" __global__ __launch_bounds__(THREADS, 1) void recurrent_of_kind(
    const real *__restrict__ x,          // (steps, samples, neurons), weighted input from other layers
    const real *__restrict__ w,          // (neurons, neurons), weights of what each neuron sends
    const real *__restrict__ numbers,    // constants of all neurons
    const real *__restrict__ constants,  // (constants, period), of each neuron
    real *states,                        // (states, samples, neurons), scratch
    real *u,                             // (steps, samples, neurons), potential, written
    unsigned *fired,                     // (steps, samples, words of neurons), spikes, written
    unsigned *by_neuron,                 // (neurons, samples, words of steps), spikes, written
    real *saved,                         // (saves, steps, samples, neurons), values for backward, written
    long long steps,                     // time steps
    long long samples,                   // samples of the batch
    long long neurons,                   // neurons of the population
    long long period,                    // divides neurons
    long long delay,                     // steps until a spike arrives
    int saves)                           // how many values are saved
{
    const long long time_words = (steps + LANES - 1) / LANES;
    const Stepped<Kind> kind{
        numbers, constants, states, saved, fired, by_neuron, steps, period, time_words, samples, saves};
    run_forward(kind, x, w, u, steps, samples, neurons, delay);
}

extern "C" __global__ __launch_bounds__(THREADS, 1) void recurrent_adjoint_of_kind(
    const real *__restrict__ g,          // (steps, samples, neurons), gradient of the spikes
    const real *__restrict__ u,          // (steps, samples, neurons), potential
    const real *__restrict__ w,          // (neurons, neurons), the weights transposed
    const real *__restrict__ saved,      // (saves, steps, samples, neurons), values of forward
    const real *__restrict__ numbers,    // constants of all neurons
    const real *__restrict__ constants,  // (constants, period), of each neuron
    real *states,                        // (states, samples, neurons), scratch
    real *y,                             // (steps + late, samples, neurons), gradient of the weighted input, read back,
                                         // then 0
    long long steps,                     // time steps
    long long samples,                   // samples of the batch
    long long neurons,                   // neurons of the population
    long long period,                    // divides neurons
    long long delay,                     // steps until a spike arrives
    long long late,                      // delay, at most steps
    int saves,                           // how many values are saved
    bool exact,                          // whether all paths through a spike are included
    int code,                            // the shape of the surrogate
    real theta,                          // threshold; 0 if each neuron has its own
    real steep,                          // 1 / width
    real height,                         // factor of the shape
    real a,                              // constant of the shape
    real b)                              // constant of the shape
{
    for (long long t = steps; t < steps + late; ++t)
        for (int j = threadIdx.x; j < neurons; j += blockDim.x)
            y[(t * samples + blockIdx.x) * neurons + j] = 0;
    const Slope slope{code, theta, steep, height, a, b};
    if (exact) {
        const SteppedAdjoint<true, Kind> kind{slope, numbers, constants, states, saved, u, steps, period, saves};
        run_backward(kind, g, u, w, y, steps, samples, neurons, delay);
    } else {
        const SteppedAdjoint<false, Kind> kind{slope, numbers, constants, states, saved, u, steps, period, saves};
        run_backward(kind, g, u, w, y, steps, samples, neurons, delay);
    }
}

// Neurons that are written as a step, over time: the loops of neuron_loops.cuh for one kind. For a kind other than LIF,
// gpu.py puts its struct in the place of the next include.

#include "lif.cuh"
typedef LIF Kind;
#include "surrogate_shapes.cuh"
#include "neuron_loops.cuh"

extern "C" __global__ __launch_bounds__(128, sizeof(real) == 4 ? 6 : 4) void neuron_of_kind(
    const real *__restrict__ x,          // (inputs, steps, columns), weighted inputs
    const real *__restrict__ numbers,    // constants of all neurons
    const real *__restrict__ constants,  // (constants, period), of each neuron
    real *__restrict__ states,           // (states, columns), before the first step, then after the last
    real *__restrict__ u,                // (steps, columns), potential, written
    bool *__restrict__ s,                // (steps, columns), spikes, written
    real *__restrict__ saved,            // (saves, steps, columns), values for backward, written
    long long steps,                     // time steps
    long long columns,                   // neurons
    long long period,                    // divides columns
    bool held,                           // whether there are states; else they are 0, and states is not accessed
    int saves)                           // how many values are saved
{
    run_forward<Kind>(x, numbers, constants, states, u, s, saved, steps, columns, period, held, saves);
}

extern "C" __global__ void neuron_adjoint_of_kind(
    const real *__restrict__ g,          // (steps, columns), gradient of the spikes
    const real *__restrict__ u,          // (steps, columns), potential
    const real *__restrict__ saved,      // (saves, steps, columns), values of forward
    const real *__restrict__ states,     // (states, columns), before the first step
    const real *__restrict__ numbers,    // constants of all neurons
    const real *__restrict__ constants,  // (constants, period), of each neuron
    real *__restrict__ y,                // (inputs, steps, columns), gradient of the inputs, written
    real *__restrict__ sums,             // (constants, columns), gradients of the constants, written
    real *__restrict__ later,            // (states, columns), gradients of the states after the last step, then
                                         // before the first
    long long steps,                     // time steps
    long long columns,                   // neurons
    long long period,                    // divides columns
    bool held,                           // whether there are states; else they are 0, and states is not accessed
    bool goes_on,                        // whether there is `later`; else it is 0, and not accessed
    int saves,                           // how many values are saved
    bool exact,                          // whether all paths through a spike are included
    bool trained,                        // whether sums are written
    bool graded,                         // whether a spike carries the potential
    int code,                            // the shape of the surrogate
    real theta,                          // threshold
    real steep,                          // 1 / width
    real height,                         // factor of the shape
    real a,                              // constant of the shape
    real b)                              // constant of the shape
{
    const Slope slope{code, theta, steep, height, a, b};
    if (exact && trained)
        run_backward<true, true, Kind>(
            slope, g, u, saved, states, numbers, constants, y, sums, goes_on ? later : nullptr,
            steps, columns, period, held, saves, graded);
    else if (exact)
        run_backward<true, false, Kind>(
            slope, g, u, saved, states, numbers, constants, y, sums, goes_on ? later : nullptr,
            steps, columns, period, held, saves, graded);
    else if (trained)
        run_backward<false, true, Kind>(
            slope, g, u, saved, states, numbers, constants, y, sums, goes_on ? later : nullptr,
            steps, columns, period, held, saves, graded);
    else
        run_backward<false, false, Kind>(
            slope, g, u, saved, states, numbers, constants, y, sums, goes_on ? later : nullptr,
            steps, columns, period, held, saves, graded);
}

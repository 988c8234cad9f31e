// Neurons of one kind over time: the loops of scan.cuh.

#include "kind.cuh"
#include "scan.cuh"

extern "C" __global__ __launch_bounds__(128, RESIDENT) void neuron_of_kind(
    const real *__restrict__ x,                // (inputs, steps, columns), weighted inputs
    const real *__restrict__ constants,        // (constants, period), of each neuron
    real *__restrict__ states,                 // (states, columns), before the first step, then after the last; or empty
    real *__restrict__ u,                      // (steps, columns), potential, written
    bool *s,                                   // (steps, columns), spikes, written and read back; empty if it never fires
    real *__restrict__ saved,                  // (saves, steps, columns), values for backward, written
    long long steps,                           // time steps
    long long columns,                         // neurons
    bool held,                                 // whether there are states; else they are 0, and states is not accessed
    int saves,                                 // how many values are saved
    const __grid_constant__ Numbers numbers)   // constants of all neurons
{
    run_forward<Kind>(numbers, Weighted(), x, constants, states, u, s, saved, steps, columns, held, saves);
}

extern "C" __global__ void neuron_adjoint_of_kind(
    const real *__restrict__ g,                // (steps, columns), gradient of the spikes
    const real *__restrict__ u,                // (steps, columns), potential
    const real *__restrict__ saved,            // (saves, steps, columns), values of forward
    const real *__restrict__ states,           // (states, columns), before the first step, or empty
    const real *__restrict__ constants,        // (constants, period), of each neuron
    real *again,                               // (values, steps, columns), used by earlier steps, written and read back
    real *__restrict__ y,                      // (inputs, steps, columns), gradient of the inputs, written
    real *__restrict__ sums,                   // (constants, columns), gradients of the constants, written
    real *__restrict__ later,                  // (states, columns), gradients of the states, or empty; after the last step,
                                               // then before the first
    long long steps,                           // time steps
    long long columns,                         // neurons
    bool held,                                 // whether there are states; else they are 0, and states is not accessed
    bool goes_on,                              // whether there is `later`; else it is 0, and not accessed
    int saves,                                 // how many values are saved
    bool exact,                                // whether all paths through a spike are included
    bool trained,                              // whether sums are written
    bool graded,                               // whether a spike carries the potential
    const __grid_constant__ Numbers numbers,   // constants of all neurons
    const __grid_constant__ Surrogate rho)     // the surrogate
{
    const Slope slope{rho};
    const Sweep of{g, u, saved, states, constants, again, y, trained ? sums : nullptr, goes_on ? later : nullptr,
                   steps, columns, held, graded, saves};
    if (exact)
        run_backward<true, Kind>(numbers, slope, of);
    else
        run_backward<false, Kind>(numbers, slope, of);
}

// Batch normalization and neurons in one pass over time, with statistics that are given.
//
//   y = scale(x),   u, s = the neurons of y over time
//
// Layout: x, u, s are (steps, columns), C-contiguous; column m has the channel m % channels. A thread computes one column
// and the scale of its channel: numbers are normalized when they are read, and y is never stored.
// Twin: norm_neuron of kernels/fused/cpu.py. Tests: tests/kernels/test_twins_batch_norm.py.

#include "kind.cuh"
#include "scan.cuh"
#include "scaling.cuh"

// A normalized number; 0 where there was no step.
struct Normal {
    Scale scale;

    __device__ __forceinline__ real operator()(real x, bool exists) const
    {
        return exists ? scale(x) : real(0);
    }
};

// The statistics and parameters of each channel; the first columns write what backward uses again.
struct Channels {
    const real *__restrict__ var;
    const real *__restrict__ centre;
    const real *__restrict__ gain;    // null if it is not trained
    const real *__restrict__ offset;  // the same
    real *__restrict__ subtracted;
    real *__restrict__ divisor;
    long long channels;
    const Scaling &scaling;

    __device__ __forceinline__ Normal of_column(long long m) const
    {
        const long long c = m % channels;
        const Scale scale(scaling, var[c], centre[c], gain ? gain + c : nullptr, offset ? offset + c : nullptr);
        if (m < channels) {
            subtracted[c] = scale.centre;
            divisor[c] = scale.divisor;
        }
        return {scale};
    }
};

extern "C" __global__ __launch_bounds__(128, RESIDENT) void norm_neuron(
    const real *__restrict__ x,                // (steps, columns), weighted input
    const real *__restrict__ var,              // (channels), variance
    const real *__restrict__ centre,           // (channels), what is subtracted
    const real *__restrict__ gain,             // (channels), factor; empty with trained = false
    const real *__restrict__ offset,           // (channels), added; empty with trained = false
    const real *__restrict__ constants,        // (constants, period), of each neuron
    real *__restrict__ u,                      // (steps, columns), potential, written
    bool *s,                                   // (steps, columns), spikes, written and read back
    real *__restrict__ subtracted,             // (channels), centre, written
    real *__restrict__ divisor,                // (channels), written
    long long steps,                           // time steps
    long long columns,                         // neurons
    long long channels,                        // channels, which divide the columns
    bool trained,                              // whether there are gain and offset
    Scaling scaling,                           // how each channel is scaled
    const __grid_constant__ Numbers numbers)   // constants of all neurons
{
    const Channels source{
        var, centre, trained ? gain : nullptr, trained ? offset : nullptr, subtracted, divisor, channels, scaling};
    run_forward<Kind>(numbers, source, x, constants, nullptr, u, s, nullptr, steps, columns, false, 0);
}

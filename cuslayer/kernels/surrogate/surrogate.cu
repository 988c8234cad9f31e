// Surrogate gradients of every shape.
//
//   surrogate_adjoint   g_u[t] = dt rho(u[t]) g[t]
//
// with dt rho(u) = height f((u - theta) steep), the Slope that kernels/neuron/print_cuda.py prints from cuslayer/surrogates.py.
//
// A thread computes one element.
// Precision: `real` throughout; the results differ from the CPU's by the rounding of exp. Values under LEAST_STATE are 0.
// Twins: kernels/surrogate/cpu.py. Tests: tests/kernels/test_twins_surrogate.py.

#include "kind.cuh"

extern "C" __global__ void surrogate_adjoint(
    const real *__restrict__ g,  // (size,), gradient of the spikes
    const real *__restrict__ u,  // (size,), potential
    real *__restrict__ y,        // (size,), gradient of the potential, written
    long long size,              // steps times neurons
    Surrogate of)                // the shape and its constants
{
    const Slope slope{of};
    GRID_STRIDE(i, size)
        y[i] = flushed(slope(u[i]) * g[i]);
}

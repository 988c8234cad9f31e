// Spike response neurons whose refractory response is given by samples: the direct sum in place of a recurrence.
//
//   sampled_spike                 u[t] = a[t] + sum_{k>=1} nu[k] s[t-k],   s[t] = (u[t] >= theta)
//   surrogate_adjoint             g_u[t] = dt rho(u[t]) g[t], without the path through refraction
//   sampled_spike_adjoint_exact   g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])
//
// with dt rho(u) = height f((u - theta) steep), the Slope that kernels/step/print_cuda.py prints from
// cuslayer/surrogates.py. The response to the input is filter_bank (filter_bank.cu).
//
// Layout: all arrays are (steps, columns), C-contiguous; s is bool.
// A thread computes one column step by step, backward in the adjoint, and reads what it wrote up to `count` steps ago
// once for each sample, mostly from the L2 cache. In surrogate_adjoint a thread computes one element.
// Precision: `real` throughout; compiled without fused multiply-add, u and s equal the CPU's to the bit. Adjoints
// differ by the rounding of exp. Gradients of u under LEAST_STATE are 0.
// Twins: kernels/time/sampled_srm/cpu.py. Tests: tests/kernels/test_twins_sampled_srm.py,
// test_twins_surrogate.py.

#include "kind.cuh"

extern "C" __global__ void sampled_spike(
    const real *__restrict__ a,     // (steps, columns), filtered input
    const real *__restrict__ taps,  // (count,), the refractory response; the first, at lag 0, is not used
    real *__restrict__ u,           // (steps, columns), potential, written
    bool *__restrict__ s,           // (past + steps, columns), spikes; the first rows are given, the others are written
    long long steps,                // time steps
    long long columns,              // neurons
    long long past,                 // steps before the first
    long long count,                // samples of the refractory response
    real theta)                     // threshold
{
    GRID_STRIDE(m, columns) {
        for (long long t = 0; t < steps; ++t) {
            real value = a[t * columns + m];
            for (long long k = 1; k < count && k <= past + t; ++k)
                value += taps[k] * s[(past + t - k) * columns + m];
            u[t * columns + m] = value;
            s[(past + t) * columns + m] = value >= theta;
        }
    }
}

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

extern "C" __global__ void sampled_spike_adjoint_exact(
    const real *__restrict__ g,     // (steps, columns), gradient of the spikes
    const real *__restrict__ u,     // (steps, columns), potential
    const real *__restrict__ taps,  // (count,), the refractory response; the first, at lag 0, is not used
    real *__restrict__ y,           // (steps, columns), gradient of the potential, written
    long long steps,                // time steps
    long long columns,              // neurons
    long long count,                // samples of the refractory response
    Surrogate rho)                  // the surrogate
{
    const Slope slope{rho};
    GRID_STRIDE(m, columns) {
        for (long long t = steps - 1; t >= 0; --t) {
            real through = g[t * columns + m];
            for (long long k = 1; k < count && t + k < steps; ++k)
                through += taps[k] * y[(t + k) * columns + m];
            y[t * columns + m] = flushed(through * slope(u[t * columns + m]));
        }
    }
}

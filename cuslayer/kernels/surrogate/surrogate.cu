// Surrogate gradients of every shape.
//
//   surrogate_adjoint         g_u[t] = dt rho(u[t]) g[t]                                      gradient "slayer"
//   surrogate_adjoint_exact   g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])        gradient "exact"
//
// with dt rho(u) = height f((u - theta) steep), f as in surrogate_shapes.cuh; nu is an alpha function.
//
// Layout: all arrays are (steps, columns), C-contiguous.
// A thread computes one element, or one column from the last step to the first.
// Precision: `real` throughout; the results differ from the CPU's by the rounding of exp. Values under LEAST_STATE are 0.
// Twins: kernels/surrogate/cpu.py. Tests: tests/kernels/test_twins_surrogate.py.

#include "surrogate_shapes.cuh"

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

extern "C" __global__ void surrogate_adjoint_exact(
    const real *__restrict__ g,  // (steps, columns), gradient of the spikes
    const real *__restrict__ u,  // (steps, columns), potential
    real *__restrict__ y,        // (steps, columns), gradient of the potential, written
    long long steps,             // time steps
    long long columns,           // neurons
    Surrogate of,                // the shape and its constants
    real ref_decay,              // exp(-dt / tau_ref)
    real ref_gain,               // amplitude e dt / tau_ref, negative
    long long ref_cut,           // steps until a spike leaves the refractory response; none if >= steps
    real ref_cut_p,              // ref_decay^ref_cut
    real ref_cut_q)              // ref_cut ref_decay^ref_cut
{
    const Slope slope{of};
    // This thread has written y[t + ref_cut]: it can be read in advance unless it belongs to the current batch.
    const bool in_advance = ref_cut >= AHEAD;
    GRID_STRIDE(m, columns) {
        Recurrence nu{ref_decay, ref_gain, ref_cut_p, ref_cut_q};
        for (long long t = end_of_batch(steps - 1); t >= 0; t -= AHEAD) {
            real grad[AHEAD], potential[AHEAD], old_g_u[AHEAD];
            read_rows<-1>(grad, g, t, steps, columns, m);
            read_rows<-1>(potential, u, t, steps, columns, m);
            if (in_advance)
                read_rows<-1>(old_g_u, y, t + ref_cut, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (!in_advance)
                    old_g_u[i] = read_row(y, t - i + ref_cut, steps, columns, m);
                nu.flush(t - i);
                const real value = flushed(slope(potential[i]) * (grad[i] + nu.output(old_g_u[i])));
                nu.accept(value, old_g_u[i]);
                if (t - i < steps)
                    y[(t - i) * columns + m] = value;
            }
        }
    }
}

// Sigma-delta neurons: the input is summed, activated, and sent where it has changed.
//
//   sigma_delta          v[t] = v[t-1] + x[t], or x[t] without sums
//                        a[t] = max(v[t], 0), or v[t] without rectification
//                        u[t] = a[t] - r[t-1],   s[t] = (|u[t]| >= theta),   r[t] = a[t] where it is sent, else r[t-1]
//   sigma_delta_adjoint  g_u[t] = D (g[t] + g_r[t]),   g_r[t-1] = g_r[t] - g_u[t],   D = s[t] + |u[t]| dt rho(|u[t]|), or 1
//                        g_v[t] = g_v[t+1] + g_u[t] where the activation passes, the gradient of x[t]
//
// Layout: arrays are (steps, columns), C-contiguous; s and passes are bool.
// A thread computes one column, step by step; its states stay in registers.
// Precision: `real` throughout; compiled without fused multiply-add, u and s equal the CPU's to the bit. The adjoint
// differs by the rounding of exp. States and gradients under LEAST_STATE are 0.
// Twins: kernels/sigma_delta/cpu.py. Tests: tests/kernels/test_twins_sigma_delta.py.

#include "surrogate_shapes.cuh"

extern "C" __global__ void sigma_delta(
    const real *__restrict__ x,  // (steps, columns), weighted input
    real *__restrict__ states,   // (2, columns), sum and last activation sent, before the first step, then after the last
    real *__restrict__ u,        // (steps, columns), change since it was sent last, written
    bool *__restrict__ s,        // (steps, columns), whether it is sent, written
    bool *__restrict__ passes,   // (steps, columns), whether the activation passes a change, written
    long long steps,             // time steps
    long long columns,           // neurons
    bool held,                   // whether there are states; else they are 0, and states is not accessed
    real theta,                  // least change that is sent
    bool sums,                   // whether the input is summed
    bool rectifies)              // whether the activation is max(v, 0)
{
    GRID_STRIDE(m, columns) {
        real total = held ? states[m] : real(0), sent = held ? states[columns + m] : real(0);
        for (long long t = 0; t < steps; t += AHEAD) {
            real entering[AHEAD];
            read_rows<1>(entering, x, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (t + i < steps) {
                    total = flushed(sums ? total + entering[i] : entering[i]);
                    const real active = rectifies && total < 0 ? real(0) : total;
                    const real change = flushed(active - sent);
                    const bool fires = fabs(change) >= theta;
                    sent = fires ? active : sent;
                    u[(t + i) * columns + m] = change;
                    s[(t + i) * columns + m] = fires;
                    passes[(t + i) * columns + m] = !(rectifies && total <= 0);
                }
        }
        if (held) {
            states[m] = total;
            states[columns + m] = sent;
        }
    }
}

extern "C" __global__ void sigma_delta_adjoint(
    const real *__restrict__ g,       // (steps, columns), gradient of what is sent
    const real *__restrict__ u,       // (steps, columns), change
    const bool *__restrict__ passes,  // (steps, columns), whether the activation passes a change
    real *__restrict__ y,             // (steps, columns), gradient of the input, written
    real *__restrict__ later,         // (2, columns), gradients of the states after the last step, then before the first
    long long steps,                  // time steps
    long long columns,                // neurons
    bool goes_on,                     // whether there is `later`; else it is 0, and not accessed
    bool sums,                        // whether the input is summed
    bool exact,                       // whether backward includes the threshold
    Surrogate of)                     // the shape and its constants
{
    const Slope slope{of};
    GRID_STRIDE(m, columns) {
        real of_total = goes_on ? later[m] : real(0), of_sent = goes_on ? later[columns + m] : real(0);
        for (long long t = end_of_batch(steps - 1); t >= 0; t -= AHEAD) {
            real grad[AHEAD], change[AHEAD];
            read_rows<-1>(grad, g, t, steps, columns, m);
            read_rows<-1>(change, u, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (t - i < steps) {
                    const real size = fabs(change[i]);
                    const real factor = exact ? size * slope(size) + (size >= of.theta ? real(1) : real(0)) : real(1);
                    const real of_change = (grad[i] + of_sent) * factor;
                    of_sent = flushed(of_sent - of_change);
                    const bool through = passes[(t - i) * columns + m];
                    of_total = flushed((through ? of_change : real(0)) + (sums ? of_total : real(0)));
                    y[(t - i) * columns + m] = of_total;
                }
        }
        if (goes_on) {
            later[m] = of_total;
            later[columns + m] = of_sent;
        }
    }
}

// Adaptive neurons: a current, a voltage, a threshold that rises with each spike, and a refractory state.
//
//   adaptive           i[t] = i_keep i[t-1] + x[t]
//                      v[t] = v_keep v[t-1] + i[t]
//                      h[t] = h_keep h'[t-1],   r[t] = r_keep r'[t-1]
//                      u[t] = v[t] - r[t] - h[t],   s[t] = (u[t] >= theta)
//                      h'[t] = h[t] + rise s[t],   r'[t] = r[t] + scale (theta + h[t]) s[t]
//   adaptive_adjoint   the gradient of x and, where they are trained, of the shares, by column: see kernels/adaptive/cpu.py
//
// Layout: arrays are (steps, columns), C-contiguous; s is bool. The share of column m is keep[m % (size of keep)].
// A thread computes one column, step by step; its states stay in registers.
// Precision: `real` throughout; compiled without fused multiply-add, u, s, h and r equal the CPU's to the bit. The adjoint
// differs by the rounding of exp. States and gradients under LEAST_STATE are 0.
// Twins: kernels/adaptive/cpu.py. Tests: tests/kernels/test_twins_adaptive.py.

#include "surrogate_shapes.cuh"

extern "C" __global__ void adaptive(
    const real *__restrict__ x,       // (steps, columns), weighted input
    const real *__restrict__ i_keep,  // (i_size,), share of the current that a step keeps
    const real *__restrict__ v_keep,  // (v_size,), share of the voltage
    const real *__restrict__ h_keep,  // (h_size,), share of the threshold's rise
    const real *__restrict__ r_keep,  // (r_size,), share of the refractory state
    real *__restrict__ states,        // (4, columns), i, v, h', r' before the first step, then after the last
    real *__restrict__ u,             // (steps, columns), potential, written
    bool *__restrict__ s,             // (steps, columns), spikes, written
    real *__restrict__ h,             // (steps, columns), rise of the threshold, written
    real *__restrict__ r,             // (steps, columns), refractory state, written
    long long steps,                  // time steps
    long long columns,                // neurons
    long long i_size,                 // divides columns
    long long v_size,                 // divides columns
    long long h_size,                 // divides columns
    long long r_size,                 // divides columns
    bool held,                        // whether there are states; else they are 0, and states is not accessed
    bool saves,                       // whether h and r are written; else they are not accessed
    real theta,                       // threshold without spikes
    real rise,                        // what a spike adds to it
    real scale)                       // what a spike adds to r, in thresholds
{
    GRID_STRIDE(m, columns) {
        const real keep_i = i_keep[m % i_size], keep_v = v_keep[m % v_size];
        const real keep_h = h_keep[m % h_size], keep_r = r_keep[m % r_size];
        real current = 0, voltage = 0, risen = 0, refractory = 0;
        if (held) {
            current = states[m];
            voltage = states[columns + m];
            risen = states[2 * columns + m];
            refractory = states[3 * columns + m];
        }
        for (long long t = 0; t < steps; t += AHEAD) {
            real entering[AHEAD];
            read_rows<1>(entering, x, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (t + i < steps) {
                    const long long at = (t + i) * columns + m;
                    current = flushed(keep_i * current + entering[i]);
                    voltage = flushed(keep_v * voltage + current);
                    const real above = flushed(keep_h * risen), before = flushed(keep_r * refractory);
                    const real value = voltage - before - above;
                    const bool fires = value >= theta;
                    risen = fires ? above + rise : above;
                    refractory = fires ? before + scale * (theta + above) : before;
                    u[at] = value;
                    s[at] = fires;
                    if (saves) {
                        h[at] = above;
                        r[at] = before;
                    }
                }
        }
        if (held) {
            states[m] = current;
            states[columns + m] = voltage;
            states[2 * columns + m] = risen;
            states[3 * columns + m] = refractory;
        }
    }
}

extern "C" __global__ void adaptive_adjoint(
    const real *__restrict__ g,       // (steps, columns), gradient of the spikes
    const real *__restrict__ u,       // (steps, columns), potential
    const real *__restrict__ h,       // (steps, columns), rise of the threshold
    const real *__restrict__ r,       // (steps, columns), refractory state
    const real *__restrict__ states,  // (4, columns), i, v, h', r' before the first step
    const real *__restrict__ i_keep,  // (i_size,), share of the current that a step keeps
    const real *__restrict__ v_keep,  // (v_size,), share of the voltage
    const real *__restrict__ h_keep,  // (h_size,), share of the threshold's rise
    const real *__restrict__ r_keep,  // (r_size,), share of the refractory state
    real *__restrict__ y,             // (steps, columns), gradient of the input, written
    real *__restrict__ sums,          // (4, columns), gradients of the shares, written
    long long steps,                  // time steps
    long long columns,                // neurons
    long long i_size,                 // divides columns
    long long v_size,                 // divides columns
    long long h_size,                 // divides columns
    long long r_size,                 // divides columns
    bool held,                        // whether there are states; else they are 0, and states is not accessed
    bool trained,                     // whether sums are written; else they, r and states are not accessed
    bool exact,                       // whether the path through adaptation is included
    bool graded,                      // whether a spike carries the potential
    real rise,                        // what a spike adds to the threshold
    real scale,                       // what a spike adds to r, in thresholds
    int code,                         // the shape of the surrogate
    real theta,                       // threshold without spikes
    real steep,                       // 1 / width
    real height,                      // factor of the shape
    real a,                           // constant of the shape
    real b)                           // constant of the shape
{
    const Slope slope{code, theta, steep, height, a, b};
    const bool reads = exact || trained;
    GRID_STRIDE(m, columns) {
        const real keep_i = i_keep[m % i_size], keep_v = v_keep[m % v_size];
        const real keep_h = h_keep[m % h_size], keep_r = r_keep[m % r_size];
        real of_current = 0, of_voltage = 0, of_risen = 0, of_held = 0;
        real of_i = 0, of_v = 0, of_h = 0, of_r = 0;
        for (long long t = steps - 1; t >= 0; --t) {
            const long long at = t * columns + m;
            const real value = u[at], grad = g[at];
            const bool fires = value >= theta;
            real through = 0;
            if (exact)
                through = scale * (theta + h[at]) * of_held + rise * of_risen;
            const real of_spike = (graded ? grad * value : grad) + through;
            const real of_u = slope(value) * of_spike + (graded && fires ? grad : real(0));
            of_voltage = flushed(of_u + keep_v * of_voltage);
            of_current = flushed(of_voltage + keep_i * of_current);
            y[at] = of_current;
            if (!reads)
                continue;
            const real error_h = of_risen + (fires ? scale * of_held : real(0)) - of_u, error_r = of_held - of_u;
            of_risen = flushed(keep_h * error_h);
            of_held = flushed(keep_r * error_r);
            if (!trained)
                continue;
            // The states after the step before.
            real i = 0, v = 0, above = 0, before = 0;
            if (t > 0) {
                const long long last = at - columns;
                const bool fired = u[last] >= theta;
                const real earlier = t > 1 ? u[last - columns] + r[last - columns] + h[last - columns]
                                           : held ? states[columns + m] : real(0);
                v = u[last] + r[last] + h[last];
                i = v - keep_v * earlier;
                above = fired ? h[last] + rise : h[last];
                before = fired ? r[last] + scale * (theta + h[last]) : r[last];
            } else if (held) {
                i = states[m];
                v = states[columns + m];
                above = states[2 * columns + m];
                before = states[3 * columns + m];
            }
            of_i += of_current * i;
            of_v += of_voltage * v;
            of_h += error_h * above;
            of_r += error_r * before;
        }
        if (trained) {
            sums[m] = of_i;
            sums[columns + m] = of_v;
            sums[2 * columns + m] = of_h;
            sums[3 * columns + m] = of_r;
        }
    }
}

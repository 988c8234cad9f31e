// Resonant neurons: a complex state that turns and shrinks, whose imaginary part is the potential.
//
//   resonate           z[t] = (re_keep + i im_keep) z'[t-1] + x[t]
//                      u[t] = Im z[t],   s[t] = (u[t] >= theta)
//                      z'[t] = re_share Re z[t] + i (im_share Im z[t] + im_add) after a spike, z[t] after none
//   resonate_adjoint   the gradient of x and, where they are trained, of re_keep and im_keep, by column: see
//                      kernels/resonate/cpu.py
//
// Layout: arrays are (steps, columns), C-contiguous; s is bool. The constant of column m is keep[m % (size of keep)].
// A thread computes one column, step by step; its states stay in registers.
// Precision: `real` throughout; compiled without fused multiply-add, u and s equal the CPU's to the bit. The adjoint
// differs by the rounding of exp. States and gradients under LEAST_STATE are 0.
// Twins: kernels/resonate/cpu.py. Tests: tests/kernels/test_twins_resonate.py.

#include "surrogate_shapes.cuh"

extern "C" __global__ void resonate(
    const real *__restrict__ x,        // (steps, columns), weighted input
    const real *__restrict__ re_keep,  // (re_size,), real part of what multiplies the state
    const real *__restrict__ im_keep,  // (im_size,), imaginary part
    real *__restrict__ states,         // (2, columns), state before the first step, then after the last
    real *__restrict__ u,              // (steps, columns), potential, written
    bool *__restrict__ s,              // (steps, columns), spikes, written
    real *__restrict__ real_parts,     // (steps, columns), real part before the reset, written
    long long steps,                   // time steps
    long long columns,                 // neurons
    long long re_size,                 // divides columns
    long long im_size,                 // divides columns
    bool held,                         // whether there are states; else they are 0, and states is not accessed
    bool saves,                        // whether real_parts is written; else it is not accessed
    real theta,                        // threshold
    real re_share,                     // of the real part that a spike leaves
    real im_share,                     // of the imaginary part
    real im_add)                       // what it adds to that
{
    GRID_STRIDE(m, columns) {
        const real keep_re = re_keep[m % re_size], keep_im = im_keep[m % im_size];
        real before_re = held ? states[m] : real(0), before_im = held ? states[columns + m] : real(0);
        for (long long t = 0; t < steps; t += AHEAD) {
            real entering[AHEAD];
            read_rows<1>(entering, x, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (t + i < steps) {
                    const long long at = (t + i) * columns + m;
                    const real re = flushed(keep_re * before_re - keep_im * before_im + entering[i]);
                    const real im = flushed(keep_im * before_re + keep_re * before_im);
                    const bool fires = im >= theta;
                    before_re = fires ? re_share * re : re;
                    before_im = fires ? im_share * im + im_add : im;
                    u[at] = im;
                    s[at] = fires;
                    if (saves)
                        real_parts[at] = re;
                }
        }
        if (held) {
            states[m] = before_re;
            states[columns + m] = before_im;
        }
    }
}

extern "C" __global__ void resonate_adjoint(
    const real *__restrict__ g,           // (steps, columns), gradient of the spikes
    const real *__restrict__ u,           // (steps, columns), potential
    const real *__restrict__ real_parts,  // (steps, columns), real part before the reset
    const real *__restrict__ states,      // (2, columns), state before the first step
    const real *__restrict__ re_keep,     // (re_size,), real part of what multiplies the state
    const real *__restrict__ im_keep,     // (im_size,), imaginary part
    real *__restrict__ y,                 // (steps, columns), gradient of the input, written
    real *__restrict__ sums,              // (2, columns), gradients of re_keep and im_keep, written
    long long steps,                      // time steps
    long long columns,                    // neurons
    long long re_size,                    // divides columns
    long long im_size,                    // divides columns
    bool held,                            // whether there are states; else they are 0, and states is not accessed
    bool trained,                         // whether sums is written; else it and states are not accessed
    bool exact,                           // whether the path through the reset is included
    bool graded,                          // whether a spike carries the potential
    real re_share,                        // of the real part that a spike leaves
    real im_share,                        // of the imaginary part
    real im_add,                          // what it adds to that
    int code,                             // the shape of the surrogate
    real theta,                           // threshold
    real steep,                           // 1 / width
    real height,                          // factor of the shape
    real a,                               // constant of the shape
    real b)                               // constant of the shape
{
    const Slope slope{code, theta, steep, height, a, b};
    const bool reads = exact || trained;
    GRID_STRIDE(m, columns) {
        const real keep_re = re_keep[m % re_size], keep_im = im_keep[m % im_size];
        real later_re = 0, later_im = 0, of_re_keep = 0, of_im_keep = 0;
        for (long long t = steps - 1; t >= 0; --t) {
            const long long at = t * columns + m;
            const real im = u[at], grad = g[at], re = reads ? real_parts[at] : real(0);
            const bool fires = im >= theta;
            real of_re = keep_re * later_re + keep_im * later_im;
            real of_im = keep_re * later_im - keep_im * later_re;
            real of_spike = graded ? grad * im : grad;
            if (exact) {
                of_spike += (re_share - 1) * re * of_re + ((im_share - 1) * im + im_add) * of_im;
                of_re = fires ? re_share * of_re : of_re;
                of_im = fires ? im_share * of_im : of_im;
            }
            of_im += slope(im) * of_spike + (graded && fires ? grad : real(0));
            later_re = flushed(of_re);
            later_im = flushed(of_im);
            y[at] = later_re;
            if (!trained)
                continue;
            // The state after the step before.
            real before_re = 0, before_im = 0;
            if (t > 0) {
                before_re = real_parts[at - columns];
                before_im = u[at - columns];
                if (before_im >= theta) {
                    before_re = re_share * before_re;
                    before_im = im_share * before_im + im_add;
                }
            } else if (held) {
                before_re = states[m];
                before_im = states[columns + m];
            }
            of_re_keep += later_re * before_re + later_im * before_im;
            of_im_keep += later_im * before_re - later_re * before_im;
        }
        if (trained) {
            sums[m] = of_re_keep;
            sums[columns + m] = of_im_keep;
        }
    }
}

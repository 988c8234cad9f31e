// Leaky neurons: a current and a voltage that decay, a threshold, a reset.
//
//   leaky                i[t] = i_keep i[t-1] + x[t]
//                        u[t] = v_keep r[t-1] + i[t],   s[t] = (u[t] >= theta)
//                        r[t] = share u[t] - drop after a spike, u[t] after none
//   leaky_adjoint        g_v[t] = D g[t] + (dr/du - D ((1 - share) u[t] + drop)) v_keep g_v[t+1],   D = dt rho(u[t])
//                        g_i[t] = i_keep g_i[t+1] + g_v[t], the gradient of x[t]
//   leaky_keep_adjoint   sum_t g_i[t] i[t-1] and sum_t g_v[t] r[t-1], the gradients of i_keep and v_keep, by column
//
// A reset to 0 has the share 0 and the drop 0, one by subtraction 1 and theta, none 1 and 0. Without the path through the
// reset, the adjoint has the latter. Where spikes carry the voltage (`graded`), D u g stands for D g, and a spike adds g.
//
// Layout: arrays are (steps, columns), C-contiguous; s is bool. The share of column m is keep[m % (size of keep)].
// A thread computes one column, step by step; its states stay in registers.
// Precision: `real` throughout; compiled without fused multiply-add, u and s equal the CPU's to the bit. The adjoint
// differs by the rounding of exp. States and gradients under LEAST_STATE are 0.
// Twins: kernels/leaky/cpu.py. Tests: tests/kernels/test_twins_leaky.py.

#include "surrogate_shapes.cuh"

extern "C" __global__ void leaky(
    const real *__restrict__ x,       // (steps, columns), weighted input
    const real *__restrict__ i_keep,  // (i_size,), share of the current that a step keeps
    const real *__restrict__ v_keep,  // (v_size,), share of the voltage
    real *__restrict__ states,        // (2, columns), current and voltage before the first step, then after the last
    real *__restrict__ u,             // (steps, columns), voltage before the reset, written
    bool *__restrict__ s,             // (steps, columns), spikes, written
    long long steps,                  // time steps
    long long columns,                // neurons
    long long i_size,                 // divides columns
    long long v_size,                 // divides columns
    bool held,                        // whether there are states; else they are 0, and states is not accessed
    real theta,                       // threshold
    real share,                       // of the voltage that a spike leaves
    real drop)                        // what it takes from it
{
    GRID_STRIDE(m, columns) {
        const real keep_i = i_keep[m % i_size], keep_v = v_keep[m % v_size];
        real current = held ? states[m] : real(0), voltage = held ? states[columns + m] : real(0);
        for (long long t = 0; t < steps; t += AHEAD) {
            real entering[AHEAD];
            read_rows<1>(entering, x, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (t + i < steps) {
                    current = flushed(keep_i * current + entering[i]);
                    const real value = flushed(keep_v * voltage + current);
                    const bool fires = value >= theta;
                    voltage = fires ? share * value - drop : value;
                    u[(t + i) * columns + m] = value;
                    s[(t + i) * columns + m] = fires;
                }
        }
        if (held) {
            states[m] = current;
            states[columns + m] = voltage;
        }
    }
}

extern "C" __global__ void leaky_adjoint(
    const real *__restrict__ g,       // (steps, columns), gradient of the spikes
    const real *__restrict__ u,       // (steps, columns), voltage before the reset
    const real *__restrict__ i_keep,  // (i_size,), share of the current that a step keeps
    const real *__restrict__ v_keep,  // (v_size,), share of the voltage
    real *__restrict__ y,             // (steps, columns), gradient of the input, written
    long long steps,                  // time steps
    long long columns,                // neurons
    long long i_size,                 // divides columns
    long long v_size,                 // divides columns
    bool graded,                      // whether spikes carry the voltage
    real share,                       // of the voltage that a spike leaves
    real drop,                        // what it takes from it
    int code,                         // the shape of the surrogate
    real theta,                       // threshold
    real steep,                       // 1 / width
    real height,                      // factor of the shape
    real a,                           // constant of the shape
    real b)                           // constant of the shape
{
    const Slope slope{code, theta, steep, height, a, b};
    GRID_STRIDE(m, columns) {
        const real keep_i = i_keep[m % i_size], keep_v = v_keep[m % v_size];
        real of_current = 0, of_voltage = 0;
        for (long long t = end_of_batch(steps - 1); t >= 0; t -= AHEAD) {
            real grad[AHEAD], potential[AHEAD];
            read_rows<-1>(grad, g, t, steps, columns, m);
            read_rows<-1>(potential, u, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (t - i < steps) {
                    const real value = potential[i], later = keep_v * of_voltage;
                    const bool fires = value >= theta;
                    const real of_spike = (graded ? grad[i] * value : grad[i]) - ((1 - share) * value + drop) * later;
                    const real passed = (fires ? share * later : later) + (graded && fires ? grad[i] : real(0));
                    of_voltage = flushed(slope(value) * of_spike + passed);
                    of_current = flushed(keep_i * of_current + of_voltage);
                    y[(t - i) * columns + m] = of_current;
                }
        }
    }
}

extern "C" __global__ void leaky_keep_adjoint(
    const real *__restrict__ y,       // (steps, columns), gradient of the input
    const real *__restrict__ u,       // (steps, columns), voltage before the reset
    const real *__restrict__ states,  // (2, columns), current and voltage before the first step
    const real *__restrict__ i_keep,  // (i_size,), share of the current that a step keeps
    const real *__restrict__ v_keep,  // (v_size,), share of the voltage
    real *__restrict__ g_i,           // (columns,), gradient of i_keep, written
    real *__restrict__ g_v,           // (columns,), gradient of v_keep, written
    long long steps,                  // time steps
    long long columns,                // neurons
    long long i_size,                 // divides columns
    long long v_size,                 // divides columns
    bool held,                        // whether there are states; else they are 0, and states is not accessed
    real theta,                       // threshold
    real share,                       // of the voltage that a spike leaves
    real drop)                        // what it takes from it
{
    GRID_STRIDE(m, columns) {
        const real keep_i = i_keep[m % i_size], keep_v = v_keep[m % v_size];
        real current = held ? states[m] : real(0), voltage = held ? states[columns + m] : real(0);
        real of_i = 0, of_v = 0, now = read_row(y, 0, steps, columns, m);
        for (long long t = 0; t < steps; t += AHEAD) {
            real later[AHEAD], potential[AHEAD];
            read_rows<1>(later, y, t + 1, steps, columns, m);
            read_rows<1>(potential, u, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (t + i < steps) {
                    const real value = potential[i];
                    of_i += now * current;
                    of_v += (now - keep_i * later[i]) * voltage;
                    current = value - keep_v * voltage;
                    voltage = value >= theta ? share * value - drop : value;
                    now = later[i];
                }
        }
        g_i[m] = of_i;
        g_v[m] = of_v;
    }
}

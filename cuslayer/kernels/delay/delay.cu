// Trained delays, and delays between two steps.
//
//   shift_linear         y[t, m] = near[m] x[t - delay[m], m] + far[m] x[t - delay[m] - 1, m]
//   shift_delay_adjoint  y[m] = sum_t g[t, m] (x[t - delay[m] - 1, m] - x[t - delay[m], m])
//
// where x is 0 outside its steps. The adjoint of shift_linear is shift_linear with -delay - 1 as the delay, and near
// and far exchanged.
//
// Layout: x, g, y of shift_linear (steps, columns); delay, near, far, the other y (columns,). C-contiguous.
// A thread of shift_linear computes AHEAD steps of one column, a thread of shift_delay_adjoint the sum of one column:
// nothing is added atomically.
// Precision: `real` throughout; compiled without fused multiply-add, the results are the CPU's to the bit.
// Twins: kernels/delay/cpu.py. Tests: tests/kernels/test_twins_delay.py.

extern "C" __global__ void shift_linear(
    const real *__restrict__ x,           // (steps, columns)
    const long long *__restrict__ delay,  // (columns,), in steps; may be negative
    const real *__restrict__ near,        // (columns,), weight of the step t - delay[m]
    const real *__restrict__ far,         // (columns,), weight of the step before that
    real *__restrict__ y,                 // (steps, columns), written
    long long steps,                      // time steps
    long long columns)                    // signals
{
    GRID_STRIDE(i, (steps + AHEAD - 1) / AHEAD * columns) {
        const long long m = i % columns, t = i / columns * AHEAD;
        real rows[AHEAD];
        read_rows<1>(rows, x, t - delay[m], steps, columns, m);
        real before = read_row(x, t - delay[m] - 1, steps, columns, m);
#pragma unroll
        for (int j = 0; j < AHEAD; ++j) {
            if (t + j < steps)
                y[(t + j) * columns + m] = near[m] * rows[j] + far[m] * before;
            before = rows[j];
        }
    }
}

extern "C" __global__ void shift_delay_adjoint(
    const real *__restrict__ g,           // (steps, columns)
    const real *__restrict__ x,           // (steps, columns)
    const long long *__restrict__ delay,  // (columns,), in steps; may be negative
    real *__restrict__ y,                 // (columns,), written
    long long steps,                      // time steps
    long long columns)                    // signals
{
    GRID_STRIDE(m, columns) {
        real before = read_row(x, -delay[m] - 1, steps, columns, m), sum = 0;
        for (long long t = 0; t < steps; t += AHEAD) {
            real errors[AHEAD], rows[AHEAD];
            read_rows<1>(errors, g, t, steps, columns, m);
            read_rows<1>(rows, x, t - delay[m], steps, columns, m);
#pragma unroll
            for (int j = 0; j < AHEAD; ++j) {
                sum += errors[j] * (before - rows[j]);
                before = rows[j];
            }
        }
        y[m] = sum;
    }
}

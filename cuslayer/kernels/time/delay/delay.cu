// Delays: by whole steps, between two steps, and their gradients.
//
//   delay_steps          steps[m] = floor(delay / dt), fraction[m] = delay / dt - steps[m], of the delay m % size
//   shift                y[t, m] = x[t - delay[m], m]; shift_spikes: for booleans
//   shift_linear         y[t, m] = near[m] x[t - delay[m], m] + far[m] x[t - delay[m] - 1, m]
//   shift_delay_adjoint  y[m] = sum_t g[t, m] (x[t - delay[m] - 1, m] - x[t - delay[m], m])
//
// where x is 0 outside its steps. The adjoint of shift_linear is shift_linear with -delay - 1 as the delay, and near
// and far exchanged.
//
// A delay that is a multiple of dt, up to the rounding errors of its type, is that multiple. So the steps of trained
// delays are computed where the delays are, and a step of training reads none back.
//
// Layout: x, g, y of the shifts (steps, columns); delay, near, far, the other y (columns,). C-contiguous.
// A thread of delay_steps computes the steps of one column. A thread of a shift computes AHEAD steps of one column, a thread
// of shift_delay_adjoint the sum of one column: nothing is added atomically.
// Precision: `real` throughout, but for delay_steps, which computes in double; compiled without fused multiply-add, the
// results are the CPU's to the bit.
// Twins: kernels/time/delay/cpu.py. Tests: tests/kernels/test_twins.py.

extern "C" __global__ void delay_steps(
    const real *__restrict__ delay,  // (size,), ms
    long long *__restrict__ steps,   // (columns,), written
    double *__restrict__ fraction,   // (columns,), written, of a step
    long long size,                  // delays; a column shares its delay with those a multiple of size further
    long long columns,               // signals
    long long limit,                 // the steps are within -limit .. limit
    double dt,                       // ms
    double tolerance)                // how far from a multiple of dt a delay of one step is still that multiple
{
    GRID_STRIDE(m, columns) {
        const double ratio = double(delay[m % size]) / dt, nearest = rint(ratio);
        const bool meant = fabs(ratio - nearest) <= tolerance * fmax(1.0, fabs(ratio));
        const double whole = meant ? nearest : floor(ratio);
        // A delay that is no number has -limit steps, and no number as its fraction.
        steps[m] = (long long)fmin(fmax(whole, -double(limit)), double(limit));
        fraction[m] = meant ? 0.0 : ratio - whole;
    }
}

template <typename Number>
__device__ __forceinline__ void delayed(
    const Number *__restrict__ x, Number *__restrict__ y, long long steps, long long columns, long long delay,
    long long m, long long tile)
{
    const long long t = tile * AHEAD;
    Number rows[AHEAD];
    read_rows<1>(rows, x, t - delay, steps, columns, m);
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
        if (t + i < steps)
            y[(t + i) * columns + m] = rows[i];
}

extern "C" __global__ void shift(
    const real *__restrict__ x,           // (steps, columns)
    const long long *__restrict__ delay,  // (columns,), in steps; may be negative
    real *__restrict__ y,                 // (steps, columns), written
    long long steps,                      // time steps
    long long columns)                    // signals
{
    GRID_STRIDE(i, (steps + AHEAD - 1) / AHEAD * columns)
        delayed(x, y, steps, columns, delay[i % columns], i % columns, i / columns);
}

extern "C" __global__ void shift_spikes(
    const bool *__restrict__ x,           // (steps, columns)
    const long long *__restrict__ delay,  // (columns,), in steps; may be negative
    bool *__restrict__ y,                 // (steps, columns), written
    long long steps,                      // time steps
    long long columns)                    // signals
{
    GRID_STRIDE(i, (steps + AHEAD - 1) / AHEAD * columns)
        delayed(x, y, steps, columns, delay[i % columns], i % columns, i / columns);
}

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

// Filters in time, and delays.
//
//   fir           a[t] = sum_k taps[k] x[t-k]   any filter, as the direct sum
//   fir_adjoint   y[t] = sum_k taps[k] g[t+k]
//   shift         y[t, m] = x[t - delay[m], m]  0 outside [0, steps); shift_spikes: for booleans
//
// Layout: x, a, g, y are (steps, columns), C-contiguous.
// A thread computes AHEAD steps of one column: fir reads a row once for AHEAD outputs.
// Precision: `real` throughout; compiled without fused multiply-add, the results equal the CPU's to the bit.
// Twins: kernels/response/cpu.py. Tests: tests/kernels/test_twins.py.

template <int direction>
__device__ __forceinline__ void direct_sum(
    const real *__restrict__ x, const real *__restrict__ taps, real *__restrict__ a, long long steps, long long columns,
    long long count, long long m, long long tile)
{
    real sums[AHEAD] = {};
    add_filtered<direction>(sums, x, taps, steps, columns, count, m, tile);
    write_tile<direction>(sums, a, steps, columns, m, tile);
}

extern "C" __global__ void fir(
    const real *__restrict__ x,     // (steps, columns)
    const real *__restrict__ taps,  // (count,)
    real *__restrict__ a,           // (steps, columns), written
    long long steps,                // time steps
    long long columns,              // signals
    long long count)                // samples of the filter
{
    GRID_STRIDE(i, (steps + AHEAD - 1) / AHEAD * columns)
        direct_sum<1>(x, taps, a, steps, columns, count, i % columns, i / columns);
}

extern "C" __global__ void fir_adjoint(
    const real *__restrict__ g,     // (steps, columns)
    const real *__restrict__ taps,  // (count,)
    real *__restrict__ y,           // (steps, columns), written
    long long steps,                // time steps
    long long columns,              // signals
    long long count)                // samples of the filter
{
    GRID_STRIDE(i, (steps + AHEAD - 1) / AHEAD * columns)
        direct_sum<-1>(g, taps, y, steps, columns, count, i % columns, i / columns);
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

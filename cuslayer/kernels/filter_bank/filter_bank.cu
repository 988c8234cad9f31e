// Banks of filters in time, each applied to every signal, and the gradients of the signals and of the taps.
//
//   filter_bank                 y[t, i, m] = sum_k w[i, k] x[t-k, m]
//   filter_bank_adjoint         g_x[t, m]  = sum_i sum_k w[i, k] g[t+k, i, m]
//   filter_bank_weight_adjoint  g_w[i, k]  = sum_t sum_m g[t, i, m] x[t-k, m], in `lanes` parts that are left to be added
//
// Layout: x is (steps, columns), its columns groups of `channels`; y and g are (steps, columns filters), where filter i of
// a group is its i-th run of `channels` columns (`place`); w is (filters, taps). C-contiguous.
// A thread of the first two makes AHEAD steps of one column, as fir does. A thread of the third makes AHEAD taps of one
// filter for the columns lane, lane + lanes, ...: a row of x that it has read serves AHEAD taps. Which columns a part adds
// depends on `lanes` alone, and nothing is added atomically: the same bits every time.
// Precision: `real` throughout; compiled without fused multiply-add, the first two are the CPU's to the bit. The sums of
// the third are added in another order than the CPU's.
// Twins: kernels/cpu/filter_bank.py. Tests: tests/kernels/test_twins_filter.py.

// The column of y that filter i makes of column m of x.
__device__ __forceinline__ long long place(long long m, long long i, long long channels, long long filters)
{
    return (m / channels * filters + i) * channels + m % channels;
}

extern "C" __global__ void filter_bank(
    const real *__restrict__ x,  // (steps, columns)
    const real *__restrict__ w,  // (filters, taps)
    real *__restrict__ y,        // (steps, columns filters), written
    long long steps,             // time steps
    long long columns,           // signals
    long long channels,          // columns of a group
    long long filters,           // filters of the bank
    long long taps)              // samples of a filter
{
    const long long made = columns * filters;
    GRID_STRIDE(n, (steps + AHEAD - 1) / AHEAD * made) {
        const long long o = n % made, tile = n / made;
        const long long i = o / channels % filters;
        const long long m = o / (channels * filters) * channels + o % channels;
        real sums[AHEAD] = {};
        add_filtered<1>(sums, x, w + i * taps, steps, columns, taps, m, tile);
        write_tile<1>(sums, y, steps, made, o, tile);
    }
}

extern "C" __global__ void filter_bank_adjoint(
    const real *__restrict__ g,  // (steps, columns filters)
    const real *__restrict__ w,  // (filters, taps)
    real *__restrict__ y,        // (steps, columns), written
    long long steps,             // time steps
    long long columns,           // signals
    long long channels,          // columns of a group
    long long filters,           // filters of the bank
    long long taps)              // samples of a filter
{
    GRID_STRIDE(n, (steps + AHEAD - 1) / AHEAD * columns) {
        const long long m = n % columns, tile = n / columns;
        real sums[AHEAD] = {};
        for (long long i = 0; i < filters; ++i) {
            const long long o = place(m, i, channels, filters);
            add_filtered<-1>(sums, g, w + i * taps, steps, columns * filters, taps, o, tile);
        }
        write_tile<-1>(sums, y, steps, columns, m, tile);
    }
}

extern "C" __global__ void filter_bank_weight_adjoint(
    const real *__restrict__ x,  // (steps, columns)
    const real *__restrict__ g,  // (steps, columns filters)
    real *__restrict__ parts,    // (filters, taps, lanes), written
    long long steps,             // time steps
    long long columns,           // signals
    long long channels,          // columns of a group
    long long filters,           // filters of the bank
    long long taps,              // samples of a filter
    long long lanes)             // parts of the sum
{
    const long long tiles = (taps + AHEAD - 1) / AHEAD;
    GRID_STRIDE(n, filters * tiles * lanes) {
        const long long lane = n % lanes, first = n / lanes % tiles * AHEAD, i = n / lanes / tiles;
        real total[AHEAD] = {};
        for (long long m = lane; m < columns; m += lanes) {
            const real *error = g + place(m, i, channels, filters);
            // At step t, tap first + j meets the input of step t - first - j: the inputs move on by one register a step.
            real inputs[AHEAD] = {}, sums[AHEAD] = {};
#pragma unroll 8
            for (long long t = first; t < steps; ++t) {
#pragma unroll
                for (int j = AHEAD - 1; j > 0; --j)
                    inputs[j] = inputs[j - 1];
                inputs[0] = x[(t - first) * columns + m];
                const real now = error[t * columns * filters];
#pragma unroll
                for (int j = 0; j < AHEAD; ++j)
                    sums[j] += now * inputs[j];
            }
#pragma unroll
            for (int j = 0; j < AHEAD; ++j)
                total[j] += sums[j];
        }
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            if (first + j < taps)
                parts[(i * taps + first + j) * lanes + lane] = total[j];
    }
}

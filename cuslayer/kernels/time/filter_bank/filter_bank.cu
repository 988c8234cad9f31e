// Filter banks in time, each filter applied to every signal, and the gradients of the signals and of the taps.
//
//   filter_bank                 y[t, i, m] = sum_k w[i, k] x[t-k, m]
//   filter_bank_adjoint         g_x[t, m]  = sum_i sum_k w[i, k] g[t+k, i, m]
//   filter_bank_weight_adjoint  g_w[i, k]  = sum_t sum_m g[t, i, m] x[t-k, m], in `lanes` partial sums
//
// Layout: x is (steps, columns), its columns in groups of `channels`; y and g are (steps, columns x filters), where
// filter i of a group has its i-th `channels` columns (`output_column`); w is (filters, taps). C-contiguous.
// A thread of the first two computes AHEAD steps of one column, and reads a row once for them. A thread of the third computes AHEAD taps
// of one filter for the columns lane, lane + lanes, ...: a row of x is read once for AHEAD taps. The columns of a
// partial sum depend only on `lanes`, and nothing is added atomically: the results are reproducible to the bit.
// Precision: `real` throughout; compiled without fused multiply-add, the first two equal the CPU's to the bit. The
// third adds in another order than the CPU's.
// Twins: kernels/time/filter_bank/cpu.py. Tests: tests/kernels/test_twins_filter.py.

// The column of y that holds filter i of column m of x.
__device__ __forceinline__ long long output_column(long long m, long long i, long long channels, long long filters)
{
    return (m / channels * filters + i) * channels + m % channels;
}

extern "C" __global__ void filter_bank(
    const real *__restrict__ x,  // (steps, columns)
    const real *__restrict__ w,  // (filters, taps)
    real *__restrict__ y,        // (steps, columns x filters), written
    long long steps,             // time steps
    long long columns,           // signals
    long long channels,          // columns of a group
    long long filters,           // filters of the bank
    long long taps)              // samples of a filter
{
    const long long outputs = columns * filters;
    GRID_STRIDE(n, (steps + AHEAD - 1) / AHEAD * outputs) {
        const long long o = n % outputs, tile = n / outputs;
        const long long i = o / channels % filters;
        const long long m = o / (channels * filters) * channels + o % channels;
        real sums[AHEAD] = {};
        add_filtered<1>(sums, x, w + i * taps, steps, columns, taps, m, tile);
        write_tile<1>(sums, y, steps, outputs, o, tile);
    }
}

extern "C" __global__ void filter_bank_adjoint(
    const real *__restrict__ g,  // (steps, columns x filters)
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
            const long long o = output_column(m, i, channels, filters);
            add_filtered<-1>(sums, g, w + i * taps, steps, columns * filters, taps, o, tile);
        }
        write_tile<-1>(sums, y, steps, columns, m, tile);
    }
}

extern "C" __global__ void filter_bank_weight_adjoint(
    const real *__restrict__ x,  // (steps, columns)
    const real *__restrict__ g,  // (steps, columns x filters)
    real *__restrict__ parts,    // (filters, taps, lanes), written
    long long steps,             // time steps
    long long columns,           // signals
    long long channels,          // columns of a group
    long long filters,           // filters of the bank
    long long taps,              // samples of a filter
    long long lanes)             // partial sums of each tap
{
    const long long tiles = (taps + AHEAD - 1) / AHEAD;
    GRID_STRIDE(n, filters * tiles * lanes) {
        const long long lane = n % lanes, first = n / lanes % tiles * AHEAD, i = n / lanes / tiles;
        real total[AHEAD] = {};
        for (long long m = lane; m < columns; m += lanes) {
            const real *error = g + output_column(m, i, channels, filters);
            // At step t, tap first + j has the input of step t - first - j: the inputs shift by one register a step.
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

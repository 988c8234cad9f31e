// What the CUDA kernels share. kernels/source.py pastes this file in front of every *.cu, behind the line that makes
// `real` float or double; nothing is #included, because CuPy's cache of compiled code goes by the text.
//
// An array of signals is a matrix (steps, columns), one time step a contiguous row. A thread of a time loop holds one
// column, neighbouring threads hold neighbouring columns: each step of a warp is one coalesced piece of a row.

// Visits every i in [0, count) once, however many threads were launched.
#define GRID_STRIDE(i, count)                                                        \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (count); \
         i += (long long)gridDim.x * blockDim.x)

// How many rows a thread asks for before it uses the first: enough to hide the way to memory where there are too few
// columns to do so, few enough to stay in registers.
constexpr int AHEAD = 8;

// Column m of a row; outside [0, steps) there is silence.
template <typename Number>
__device__ __forceinline__ Number read_row(
    const Number *x,
    long long row,
    long long steps,
    long long columns,
    long long m)
{
    return 0 <= row && row < steps ? x[row * columns + m] : Number(0);
}

// Column m of the AHEAD rows t, t + direction, t + 2 direction, ..., all of them on their way at once.
template <int direction, typename Number>
__device__ __forceinline__ void read_rows(
    Number (&rows)[AHEAD],
    const Number *x,
    long long t,
    long long steps,
    long long columns,
    long long m)
{
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
        rows[i] = read_row(x, t + direction * i, steps, columns, m);
}

// Adds to the outputs t, t + direction, ... of one filter, AHEAD of them, what the direct sum makes of column m of x:
//     sums[i] += sum_k taps[k] x[t + direction (i - k)]
// where t is the first of the tile's steps, counted from the end where direction is -1. The input that output i meets at
// tap k + 1 is the one that output i - 1 met at tap k: the inputs move on by one register a tap, and one new row is read.
template <int direction>
__device__ __forceinline__ void add_filtered(
    real (&sums)[AHEAD],
    const real *__restrict__ x,
    const real *__restrict__ taps,
    long long steps,
    long long columns,
    long long count,
    long long m,
    long long tile)
{
    const long long t = direction > 0 ? tile * AHEAD : steps - 1 - tile * AHEAD;
    const long long reach = tile * AHEAD + AHEAD;  // the last output meets this many inputs; further taps meet none
    const long long used = count < reach ? count : reach;
    real inputs[AHEAD];
    read_rows<direction>(inputs, x, t, steps, columns, m);
#pragma unroll 8
    for (long long k = 0; k < used; ++k) {
        const real tap = taps[k];
        const real next = read_row(x, t - direction * (k + 1), steps, columns, m);
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            sums[i] += tap * inputs[i];
#pragma unroll
        for (int i = AHEAD - 1; i > 0; --i)
            inputs[i] = inputs[i - 1];
        inputs[0] = next;
    }
}

// Writes AHEAD outputs of a tile, as add_filtered has made them, to column m of a.
template <int direction>
__device__ __forceinline__ void write_tile(
    const real (&sums)[AHEAD],
    real *__restrict__ a,
    long long steps,
    long long columns,
    long long m,
    long long tile)
{
    const long long t = direction > 0 ? tile * AHEAD : steps - 1 - tile * AHEAD;
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
        if (tile * AHEAD + i < steps)
            a[(t + direction * i) * columns + m] = sums[i];
}

// An alpha function as a recurrence of two states, from rest; `old` is the input that leaves the filter at this step,
// 0 where none does:
//     q[t] = decay (q[t-1] + p[t-1]) - cut_q old
//     p[t] = decay p[t-1] + x[t]     - cut_p old
//     a[t] = gain q[t]
// a[t] does not depend on x[t], which is why the step comes in two halves: `output` first, `accept` second.
struct Recurrence {
    real decay;
    real gain;
    real cut_p;
    real cut_q;
    real q = 0;
    real p = 0;

    __device__ __forceinline__ real output(real old)
    {
        q = decay * (q + p) - cut_q * old;
        return gain * q;
    }

    __device__ __forceinline__ void accept(real x, real old)
    {
        p = decay * p + x - cut_p * old;
    }
};

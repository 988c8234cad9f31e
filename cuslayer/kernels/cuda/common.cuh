// Common code of the CUDA kernels. kernels/cuda/compile.py puts this file in front of every *.cu, after the line that
// defines `real` as float or double, and the text of a header in the place of its #include: the key of CuPy's cache of
// compiled code is the whole text.
//
// Signals are a matrix (steps, columns); a time step is a contiguous row. In a loop over time a thread computes one
// column and neighbouring threads neighbouring columns: each step of a warp is one coalesced access to a row.

// Visits every i in [0, count) once, for any number of threads.
#define GRID_STRIDE(i, count)                                                        \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (count); \
         i += (long long)gridDim.x * blockDim.x)

// Whether this block is the last of the grid to arrive; it then sees what all blocks wrote. `arrived` counts the blocks: it
// is 0 before a launch, and again after it. Which block is last depends on the device; what it adds, and in which order,
// must not.
__device__ __forceinline__ bool is_last_block(unsigned *arrived)
{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        last = atomicAdd(arrived, 1u) == gridDim.x - 1;
        if (last)
            *arrived = 0;
    }
    __syncthreads();
    if (last)
        __threadfence();
    return last;
}

// A number of 16 bits as arrays keep it; arithmetic is in `real`. Rounds to nearest, ties to even; finite numbers beyond
// 65,504 become the largest, all others infinity: kernels/float16/cpu.py has the same steps.
struct float16 {
    unsigned short bits;
};

__device__ __forceinline__ float16 to_float16(real number)
{
    const real size = fmin(fabs(number), real(65504));
    const float near = float(size);
    int bits = __float_as_int(near);
    // Of a double that is no float: towards 0, then to odd bits, which are no tie of float16.
    if (sizeof(real) == 8 && near != size)
        bits = (bits - (near > size)) | 1;
    // The exponents are biased by 127 and by 15. Below 2^-14, float16 is a multiple of 2^-24, the step of float above 1/2.
    const int normal = (bits - (112 << 23) + 0xFFF + (bits >> 13 & 1)) >> 13;
    const int small = __float_as_int(__int_as_float(bits) + 0.5f) - 0x3F000000;
    const int sign = __float_as_int(float(number)) >> 16 & 0x8000;
    const int finite = size < real(6.103515625e-5) ? small : normal;
    return {(unsigned short)((number - number == 0 ? finite : 0x7C00) | sign)};
}

__device__ __forceinline__ real from_float16(float16 stored)
{
    const int size = stored.bits & 0x7FFF;
    const float normal = __int_as_float(size < 0x7C00 ? (size << 13) + (112 << 23) : 255 << 23);
    const float value = size < 0x400 ? float(size) * 5.9604644775390625e-8f : normal;
    return stored.bits & 0x8000 ? -value : value;
}

// Rows that a thread loads before it uses the first: enough to hide the latency of memory where columns are few, and
// few enough to stay in registers.
constexpr int AHEAD = 8;

// Column m of a row; 0 outside [0, steps).
template <typename Number>
__device__ __forceinline__ Number read_row(
    const Number *x, long long row, long long steps, long long columns, long long m)
{
    return 0 <= row && row < steps ? x[row * columns + m] : Number(0);
}

// Column m of the AHEAD rows t, t + direction, t + 2 direction, ...; their loads overlap.
template <int direction, typename Number>
__device__ __forceinline__ void read_rows(
    Number (&rows)[AHEAD], const Number *x, long long t, long long steps, long long columns, long long m)
{
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
        rows[i] = read_row(x, t + direction * i, steps, columns, m);
}

// The last step of the batch of AHEAD steps that has step t. A backward sweep begins here, so that its batches are those
// of the forward sweep; the rows after the last step are read as 0 and change no state.
__device__ __forceinline__ long long end_of_batch(long long t)
{
    return t | (AHEAD - 1);
}

// Adds the direct sum of a filter over column m of x to the AHEAD outputs t, t + direction, ... of a tile:
//     sums[i] += sum_k taps[k] x[t + direction (i - k)]
// where t is the first step of the tile, counted from the end if direction is -1. Output i multiplies tap k + 1 by the
// input that output i - 1 multiplies by tap k: the inputs shift by one register for each tap, and one new row is read.
template <int direction>
__device__ __forceinline__ void add_filtered(
    real (&sums)[AHEAD], const real *__restrict__ x, const real *__restrict__ taps, long long steps, long long columns,
    long long count, long long m, long long tile)
{
    const long long t = direction > 0 ? tile * AHEAD : steps - 1 - tile * AHEAD;
    const long long reach = tile * AHEAD + AHEAD;  // inputs of the last output; further taps have no input
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

// Writes the AHEAD outputs of a tile, as add_filtered computes them, to column m of a.
template <int direction>
__device__ __forceinline__ void write_tile(
    const real (&sums)[AHEAD], real *__restrict__ a, long long steps, long long columns, long long m, long long tile)
{
    const long long t = direction > 0 ? tile * AHEAD : steps - 1 - tile * AHEAD;
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
        if (tile * AHEAD + i < steps)
            a[(t + direction * i) * columns + m] = sums[i];
}

// The absolute value under which a state of a recurrence, or a gradient of a potential, becomes 0: `least_state` of
// kernels/constants.py. CuPy compiles with -ftz=true, which replaces subnormal floats by 0 and the CPU does not: with
// this bound, subnormals do not arise on either.
constexpr real LEAST_STATE = sizeof(real) == 4 ? 0x1p-66 : 0x1p-904;

__device__ __forceinline__ real flushed(real x)
{
    return fabs(x) < LEAST_STATE ? real(0) : x;
}

// Products of matrices of numbers. CUDA graphs do not allow cuBLAS's, and these have the same bits on every device.
//
//   matmul   c[p, i, j] = sum of a[i, k] b[k, j] over the chunk p of k
//
// where a is stored as (rows, inner), or transposed as (inner, rows), and b as (inner, columns), or transposed as
// (columns, inner). With several chunks, add_parts of conv_adjoint.cu adds the parts: a product with few outputs and a
// long sum, as the gradient of a weight, has enough blocks.
//
// Layout: matrices of `real`, C-contiguous. A block computes a tile of 64 x 64 of one part, a thread 4 x 4 of it, in
// rows and columns that are 16 apart: a warp reads 16 neighbouring numbers of a row of shared memory and 2 of a column,
// and writes whole sectors. It goes through its chunk 16 numbers at a time, which are read while the 16 before are
// used:
//
//                 columns j                     registers    16 rows of b, 16 columns of a: on their way
//               +-----------+                   shared       those that are multiplied now
//     inner k   |  b  16 x 64 |                 registers    4 x 4 sums of a thread
//               +-----------+
//     a 64 x 16 |  c  64 x 64 |
//               +-----------+
//
// Precision: `real`, fused multiply-add in ascending k. The sums of the CPU's products have another order.
// Twin: NumPy's product. Tests: tests/kernels/test_twins_dense.py.

constexpr int SIDE = 64;
constexpr int EACH = 4;
constexpr int DEPTH = 16;
constexpr int THREADS = SIDE / EACH * (SIDE / EACH);
constexpr int LOADS = SIDE * DEPTH / THREADS;
// Not SIDE: the threads of a warp write several rows of one column to different banks.
constexpr int PITCH = SIDE + (sizeof(real) == 4 ? 2 : 1);

// A tile of DEPTH x SIDE of a factor on its way to shared memory; 0 outside of the matrix. `inner_first`: whether the
// matrix is (inner, width), as b is, and a if it is transposed; else it is (width, inner).
template <bool inner_first>
struct Tile {
    real held[LOADS];

    // Number i of a thread is in row `deep` of the tile, along the inner axis, and in column `wide`.
    static __device__ __forceinline__ int deep(int i)
    {
        const int place = i * THREADS + threadIdx.x;
        return inner_first ? place / SIDE : place % DEPTH;
    }
    static __device__ __forceinline__ int wide(int i)
    {
        const int place = i * THREADS + threadIdx.x;
        return inner_first ? place % SIDE : place / DEPTH;
    }

    // Reads the inner indices `k`, k + 1, ... below `last`, and the others from `first` on.
    __device__ __forceinline__ void read(
        const real *from, long long k, long long last, long long first, long long width, long long inner)
    {
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const long long row = k + deep(i), column = first + wide(i);
            const bool inside = row < last && column < width;
            held[i] = inside ? from[inner_first ? row * width + column : column * inner + row] : real(0);
        }
    }

    __device__ __forceinline__ void store(real (&to)[DEPTH][PITCH]) const
    {
#pragma unroll
        for (int i = 0; i < LOADS; ++i)
            to[deep(i)][wide(i)] = held[i];
    }
};

template <bool a_transposed, bool b_transposed>
__device__ __forceinline__ void multiply(
    real (&left)[DEPTH][PITCH], real (&right)[DEPTH][PITCH], const real *a, const real *b, real *c, long long rows,
    long long inner, long long columns, long long chunk)
{
    const long long across = (columns + SIDE - 1) / SIDE;
    const long long row = blockIdx.x / across * SIDE, column = blockIdx.x % across * SIDE;
    const long long begin = blockIdx.y * chunk, end = min(begin + chunk, inner);
    const int x = threadIdx.x % (SIDE / EACH), y = threadIdx.x / (SIDE / EACH);
    real sums[EACH][EACH] = {};
    Tile<a_transposed> from_a;
    Tile<!b_transposed> from_b;
    from_a.read(a, begin, end, row, rows, inner);
    from_b.read(b, begin, end, column, columns, inner);
    for (long long k = begin; k < end; k += DEPTH) {
        from_a.store(left);
        from_b.store(right);
        __syncthreads();
        from_a.read(a, k + DEPTH, end, row, rows, inner);
        from_b.read(b, k + DEPTH, end, column, columns, inner);
#pragma unroll
        for (int d = 0; d < DEPTH; ++d) {
            real of_a[EACH], of_b[EACH];
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                of_a[i] = left[d][y + i * (SIDE / EACH)];
                of_b[i] = right[d][x + i * (SIDE / EACH)];
            }
#pragma unroll
            for (int i = 0; i < EACH; ++i)
#pragma unroll
                for (int j = 0; j < EACH; ++j)
                    sums[i][j] = fma(of_a[i], of_b[j], sums[i][j]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < EACH; ++i)
#pragma unroll
        for (int j = 0; j < EACH; ++j) {
            const long long r = row + y + i * (SIDE / EACH), to = column + x + j * (SIDE / EACH);
            if (r < rows && to < columns)
                c[(blockIdx.y * rows + r) * columns + to] = sums[i][j];
        }
}

extern "C" __global__ __launch_bounds__(THREADS, 2) void matmul(
    const real *__restrict__ a,  // (rows x inner), (rows, inner), or transposed
    const real *__restrict__ b,  // (inner x columns), (inner, columns), or transposed
    real *__restrict__ c,        // (parts, rows, columns), written
    long long rows,              // of the product
    long long inner,             // terms of a sum
    long long columns,           // of the product
    long long chunk,             // terms of a part, a multiple of 16
    bool a_transposed,           // whether a is
    bool b_transposed)           // whether b is; at most one of both
{
    __shared__ real left[DEPTH][PITCH], right[DEPTH][PITCH];
    if (a_transposed)
        multiply<true, false>(left, right, a, b, c, rows, inner, columns, chunk);
    else if (b_transposed)
        multiply<false, true>(left, right, a, b, c, rows, inner, columns, chunk);
    else
        multiply<false, false>(left, right, a, b, c, rows, inner, columns, chunk);
}

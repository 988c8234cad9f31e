// Gradients that are clipped before a step of an optimizer.
//
//   clip_values   y = g clipped to [-limit, limit]
//   clip_norm     y = g min(1, limit / norm), norm = sqrt(sum of totals), the sums of the squares of all gradients of a step;
//                 add_squares of kernels/score/score.cu computes them
//
// Each takes up to 8 arrays in one launch. A gradient that is not finite stays so, and the others are not scaled by its norm:
// y is NaN for an array whose own total is not finite, and g for the others. The optimizer then notes which it was.
//
// Layout: gradients are (size,), C-contiguous. A block has 256 threads and a tile of 1,024 elements of one
// array; a thread takes 4 elements, 256 apart. The tiles of the arrays are numbered one after another.
// Sums: each block adds the totals in their order: all blocks have the same norm, in any order of blocks.
// Precision: the norm and the factor are double, the gradients and their product with the factor `real`.
// Twins: kernels/optim/clip.py. Tests: tests/kernels/test_twins_clip.py.

constexpr int THREADS = 256;
constexpr int EACH = 4;
constexpr long long TILE = THREADS * EACH;

// A gradient, where it is written to, and the tile of it that a block works on.
struct Clipped {
    const real *g;
    real *y;
    long long size;
    long long tile;
    int number;

    // Goes on to the next array unless the tile is one of this array's.
    __device__ __forceinline__ void next(const real *other, real *other_y, long long other_size)
    {
        const long long tiles = (size + TILE - 1) / TILE;
        if (tile >= tiles) {
            tile -= tiles;
            g = other;
            y = other_y;
            size = other_size;
            ++number;
        }
    }

    // Writes f(g) for each element of the tile.
    template <typename Function>
    __device__ __forceinline__ void write(Function f) const
    {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const long long j = tile * TILE + threadIdx.x + i * THREADS;
            if (j < size)
                y[j] = f(g[j]);
        }
    }
};

extern "C" __global__ __launch_bounds__(THREADS) void clip_values(
    const real *__restrict__ g0,  // (size,) of each array, gradients; those past the last array have size 0
    const real *__restrict__ g1,
    const real *__restrict__ g2,
    const real *__restrict__ g3,
    const real *__restrict__ g4,
    const real *__restrict__ g5,
    const real *__restrict__ g6,
    const real *__restrict__ g7,
    real *__restrict__ y0,        // clipped gradients, written
    real *__restrict__ y1,
    real *__restrict__ y2,
    real *__restrict__ y3,
    real *__restrict__ y4,
    real *__restrict__ y5,
    real *__restrict__ y6,
    real *__restrict__ y7,
    long long size0,              // sizes
    long long size1,
    long long size2,
    long long size3,
    long long size4,
    long long size5,
    long long size6,
    long long size7,
    real limit)                   // the largest absolute value
{
    Clipped mine{g0, y0, size0, blockIdx.x, 0};
    mine.next(g1, y1, size1);
    mine.next(g2, y2, size2);
    mine.next(g3, y3, size3);
    mine.next(g4, y4, size4);
    mine.next(g5, y5, size5);
    mine.next(g6, y6, size6);
    mine.next(g7, y7, size7);
    mine.write([=](real x) { return x - x != 0 ? x : x > limit ? limit : x < -limit ? -limit : x; });
}

extern "C" __global__ __launch_bounds__(THREADS) void clip_norm(
    const real *__restrict__ g0,        // (size,) of each array, gradients; those past the last array have size 0
    const real *__restrict__ g1,
    const real *__restrict__ g2,
    const real *__restrict__ g3,
    const real *__restrict__ g4,
    const real *__restrict__ g5,
    const real *__restrict__ g6,
    const real *__restrict__ g7,
    real *__restrict__ y0,              // clipped gradients, written
    real *__restrict__ y1,
    real *__restrict__ y2,
    real *__restrict__ y3,
    real *__restrict__ y4,
    real *__restrict__ y5,
    real *__restrict__ y6,
    real *__restrict__ y7,
    long long size0,                    // sizes
    long long size1,
    long long size2,
    long long size3,
    long long size4,
    long long size5,
    long long size6,
    long long size7,
    const double *__restrict__ totals,  // (arrays,), sums of squares of all gradients of the step
    long long arrays,                   // all gradients of the step
    long long first,                    // the number of the first array of this launch
    double limit)                       // the largest norm
{
    Clipped mine{g0, y0, size0, blockIdx.x, 0};
    mine.next(g1, y1, size1);
    mine.next(g2, y2, size2);
    mine.next(g3, y3, size3);
    mine.next(g4, y4, size4);
    mine.next(g5, y5, size5);
    mine.next(g6, y6, size6);
    mine.next(g7, y7, size7);
    if (mine.tile * TILE >= mine.size)
        return;
    double sum = 0;
#pragma unroll 1
    for (long long i = 0; i < arrays; ++i)
        sum += totals[i];
    const double own = totals[first + mine.number], norm = sqrt(sum);
    // x - x is NaN unless x is finite.
    const double common = sum - sum == 0 && norm > limit ? limit / norm : 1.0;
    const real factor = real(own - own == 0 ? common : own - own);
    mine.write([=](real x) { return x * factor; });
}

// One step of an optimizer, in place.
//
//   sgd    v = momentum v + g + decay w,   w -= rate v
//   adam   with g' = g + decay w:
//          m = beta1 m + (1 - beta1) g',   v = beta2 v + (1 - beta2) g'^2,
//          w -= (rate_m m + rate_g g') / (sqrt(v) scale_v + eps)
//          with a peak (AMSGrad), the largest v so far, peak, replaces v. The rates include the bias corrections;
//          rate_g is 0 except for NAdam.
//   sgd_all, adam_all   the same for up to 8 weight arrays in one launch; then w is clipped to [least, most]
//
// sgd and adam take their rates from the host. sgd_all and adam_all read them from a table on the device, in the row that a
// counter on the device says; the last block of the launch advances the counter. So a captured graph takes its next step
// with the next rates, without a number from the host. They also watch for numbers that are not finite: `watch` says for
// each array the first step in which its gradient had one, and the first in which a weight, a mean or a velocity became
// one. All threads that see one in a step store the same number, the order does not matter.
//
// Layout: weights and what belongs to them are (size,), C-contiguous. A thread of sgd and adam computes one element at a
// time. A block of sgd_all and adam_all has 256 threads and one tile of 1,024 elements of one array: a thread computes 4
// elements, 256 apart, whose reads overlap. The tiles of the arrays are numbered one after another.
// Precision: `real` throughout, square root and division correctly rounded; compiled without fused multiply-add, the
// results equal the CPU's to the bit.
// Twins: kernels/optim/cpu.py. Tests: tests/kernels/test_twins.py, test_twins_optim.py.

struct SgdNumbers {
    real rate;
    real momentum;
    real decay;
};

struct AdamNumbers {
    real beta1;
    real beta2;
    real rate_m;
    real rate_g;
    real scale_v;
    real eps;
    real decay;
};

// Returns the new weight, and updates the velocity.
__device__ __forceinline__ real sgd_step(const SgdNumbers &of, real w, real g, real &v)
{
    v = of.momentum * v + (g + of.decay * w);
    return w - of.rate * v;
}

// Returns the new weight, and updates the means, and the peak if there is one.
__device__ __forceinline__ real adam_step(
    const AdamNumbers &of, real w, real g, real &m, real &v, real &peak, bool keep_peak)
{
    const real slope = g + of.decay * w;
    m = of.beta1 * m + (real(1) - of.beta1) * slope;
    v = of.beta2 * v + (real(1) - of.beta2) * (slope * slope);
    if (keep_peak)
        peak = v > peak ? v : peak;
    return w - (of.rate_m * m + of.rate_g * slope) / (sqrt(keep_peak ? peak : v) * of.scale_v + of.eps);
}

extern "C" __global__ void sgd(
    real *__restrict__ w,        // (size,), weights, updated
    const real *__restrict__ g,  // (size,), gradient
    real *__restrict__ v,        // (size,), velocity, updated
    long long size,              // weights
    real rate,                   // learning rate
    real momentum,               // decay rate of the velocity
    real decay)                  // weight decay
{
    GRID_STRIDE(j, size)
        w[j] = sgd_step(SgdNumbers{rate, momentum, decay}, w[j], g[j], v[j]);
}

extern "C" __global__ void adam(
    real *__restrict__ w,        // (size,), weights, updated
    const real *__restrict__ g,  // (size,), gradient
    real *__restrict__ m,        // (size,), mean of the gradient, updated
    real *__restrict__ v,        // (size,), mean of the squared gradient, updated
    real *peak,                  // (size,), largest v so far, updated; any array, not accessed, without keep_peak
    long long size,              // weights
    bool keep_peak,              // AMSGrad
    real beta1,                  // decay rate of m
    real beta2,                  // decay rate of v
    real rate_m,                 // learning rate of the mean, bias corrected
    real rate_g,                 // learning rate of the gradient itself
    real scale_v,                // bias correction of sqrt(v)
    real eps,                    // added to the divisor
    real decay)                  // weight decay
{
    const AdamNumbers of{beta1, beta2, rate_m, rate_g, scale_v, eps, decay};
    GRID_STRIDE(j, size) {
        real largest = keep_peak ? peak[j] : real(0);
        w[j] = adam_step(of, w[j], g[j], m[j], v[j], largest, keep_peak);
        if (keep_peak)
            peak[j] = largest;
    }
}

constexpr int THREADS = 256;
constexpr int EACH = 4;
constexpr long long TILE = THREADS * EACH;

// One weight array and what belongs to it. Without momenta or a peak, v and peak are what m and v are.
struct Weights {
    real *w;
    const real *g;
    real *m;
    real *v;
    real *peak;
    long long size;
};

// The array that a block works on: `tile` counts from the first tile of `mine`, which is number `number`.
struct Work {
    Weights mine;
    long long tile;
    int number;

    // Goes on to the next array unless the tile is one of this array's.
    __device__ __forceinline__ void next(const Weights &other)
    {
        const long long tiles = (mine.size + TILE - 1) / TILE;
        if (tile >= tiles) {
            tile -= tiles;
            mine = other;
            ++number;
        }
    }
};

// As NumPy's clip: a number that is none stays what it is.
__device__ __forceinline__ real clipped(real x, real least, real most)
{
    const real above = x != x || x > least ? x : least;
    return above != above || above < most ? above : most;
}

// The numbers of the first steps in which an array had a number that is not finite, 0 if there was none.
struct Watch {
    unsigned long long *gradient, *update;
    unsigned long long number;  // of this step, from 1

    __device__ __forceinline__ Watch(long long *watch, const long long *step, long long column)
        : gradient(reinterpret_cast<unsigned long long *>(watch + 2 * column)), update(gradient + 1),
          number(step[0] + step[1] + 1)
    {
    }

    // Notes the step for a sum of x - x over numbers x, which is 0 if all of them are finite.
    __device__ __forceinline__ void note(real gradients, real updates) const
    {
        if (gradients != 0)
            atomicCAS(gradient, 0ull, number);
        if (updates != 0)
            atomicCAS(update, 0ull, number);
    }
};

// 0 for a finite number, NaN for any other.
__device__ __forceinline__ real not_finite(real x)
{
    return x - x;
}

// The row of this step: the last one for a graph that is run more often than its table has rows.
__device__ __forceinline__ long long row_of(const long long *step, long long rows)
{
    return *step < rows ? *step : rows - 1;
}

// Advances the counter of steps once all blocks have read it.
__device__ __forceinline__ void end_step(long long *step, unsigned *arrived, bool last_launch)
{
    if (last_launch && is_last_block(arrived) && threadIdx.x == 0)
        ++*step;
}

extern "C" __global__ __launch_bounds__(THREADS) void sgd_all(
    real *__restrict__ w0,               // (size,) of each array, weights, updated; those past the last array have size 0
    real *__restrict__ w1,
    real *__restrict__ w2,
    real *__restrict__ w3,
    real *__restrict__ w4,
    real *__restrict__ w5,
    real *__restrict__ w6,
    real *__restrict__ w7,
    const real *__restrict__ g0,         // gradients
    const real *__restrict__ g1,
    const real *__restrict__ g2,
    const real *__restrict__ g3,
    const real *__restrict__ g4,
    const real *__restrict__ g5,
    const real *__restrict__ g6,
    const real *__restrict__ g7,
    real *__restrict__ v0,               // velocities, updated
    real *__restrict__ v1,
    real *__restrict__ v2,
    real *__restrict__ v3,
    real *__restrict__ v4,
    real *__restrict__ v5,
    real *__restrict__ v6,
    real *__restrict__ v7,
    long long size0,                     // sizes
    long long size1,
    long long size2,
    long long size3,
    long long size4,
    long long size5,
    long long size6,
    long long size7,
    const real *__restrict__ constants,  // (columns, 4): momentum, weight decay, least, most
    const real *__restrict__ rates,      // (rows, columns, 1): learning rate
    long long *__restrict__ step,        // (2,), row of the rates of this step, advanced by the last launch, and the steps
                                         // before row 0
    long long *__restrict__ watch,       // (columns, 2), first steps whose gradient or update is not finite, else 0
    unsigned *__restrict__ arrived,      // (1,), blocks that have ended, 0 before and after
    long long rows,                      // steps of the table
    long long columns,                   // arrays of all launches of this step
    long long first,                     // those of earlier launches
    bool last_launch)                    // whether this is the last launch of this step
{
    Work work{{w0, g0, v0, v0, v0, size0}, blockIdx.x, 0};
    work.next({w1, g1, v1, v1, v1, size1});
    work.next({w2, g2, v2, v2, v2, size2});
    work.next({w3, g3, v3, v3, v3, size3});
    work.next({w4, g4, v4, v4, v4, size4});
    work.next({w5, g5, v5, v5, v5, size5});
    work.next({w6, g6, v6, v6, v6, size6});
    work.next({w7, g7, v7, v7, v7, size7});
    if (work.tile * TILE < work.mine.size) {
        const Weights mine = work.mine;
        const real *constant = constants + (first + work.number) * 4;
        const SgdNumbers of{rates[row_of(step, rows) * columns + first + work.number], constant[0], constant[1]};

        real w[EACH], g[EACH], v[EACH], gradients = 0, updates = 0;
        const long long begin = work.tile * TILE + threadIdx.x;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const long long j = begin + i * THREADS;
            if (j < mine.size) {
                w[i] = mine.w[j];
                g[i] = mine.g[j];
                v[i] = mine.v[j];
            }
        }
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const long long j = begin + i * THREADS;
            if (j < mine.size) {
                const real moved = clipped(sgd_step(of, w[i], g[i], v[i]), constant[2], constant[3]);
                mine.w[j] = moved;
                mine.v[j] = v[i];
                gradients += not_finite(g[i]);
                updates += not_finite(moved) + not_finite(v[i]);
            }
        }
        Watch(watch, step, first + work.number).note(gradients, updates);
    }
    end_step(step, arrived, last_launch);
}

extern "C" __global__ __launch_bounds__(THREADS) void adam_all(
    real *__restrict__ w0,               // (size,) of each array, weights, updated; those past the last array have size 0
    real *__restrict__ w1,
    real *__restrict__ w2,
    real *__restrict__ w3,
    real *__restrict__ w4,
    real *__restrict__ w5,
    real *__restrict__ w6,
    real *__restrict__ w7,
    const real *__restrict__ g0,         // gradients
    const real *__restrict__ g1,
    const real *__restrict__ g2,
    const real *__restrict__ g3,
    const real *__restrict__ g4,
    const real *__restrict__ g5,
    const real *__restrict__ g6,
    const real *__restrict__ g7,
    real *__restrict__ m0,               // means of the gradients, updated
    real *__restrict__ m1,
    real *__restrict__ m2,
    real *__restrict__ m3,
    real *__restrict__ m4,
    real *__restrict__ m5,
    real *__restrict__ m6,
    real *__restrict__ m7,
    real *__restrict__ v0,               // means of the squared gradients, updated
    real *__restrict__ v1,
    real *__restrict__ v2,
    real *__restrict__ v3,
    real *__restrict__ v4,
    real *__restrict__ v5,
    real *__restrict__ v6,
    real *__restrict__ v7,
    real *peak0,                         // largest v so far, updated; v itself where there is none (no AMSGrad)
    real *peak1,
    real *peak2,
    real *peak3,
    real *peak4,
    real *peak5,
    real *peak6,
    real *peak7,
    long long size0,                     // sizes
    long long size1,
    long long size2,
    long long size3,
    long long size4,
    long long size5,
    long long size6,
    long long size7,
    const real *__restrict__ constants,  // (columns, 6): beta1, beta2, eps, weight decay, least, most
    const real *__restrict__ rates,      // (rows, columns, 3): rate_m, rate_g, scale_v
    long long *__restrict__ step,        // (2,), row of the rates of this step, advanced by the last launch, and the steps
                                         // before row 0
    long long *__restrict__ watch,       // (columns, 2), first steps whose gradient or update is not finite, else 0
    unsigned *__restrict__ arrived,      // (1,), blocks that have ended, 0 before and after
    long long rows,                      // steps of the table
    long long columns,                   // arrays of all launches of this step
    long long first,                     // those of earlier launches
    bool last_launch)                    // whether this is the last launch of this step
{
    Work work{{w0, g0, m0, v0, peak0, size0}, blockIdx.x, 0};
    work.next({w1, g1, m1, v1, peak1, size1});
    work.next({w2, g2, m2, v2, peak2, size2});
    work.next({w3, g3, m3, v3, peak3, size3});
    work.next({w4, g4, m4, v4, peak4, size4});
    work.next({w5, g5, m5, v5, peak5, size5});
    work.next({w6, g6, m6, v6, peak6, size6});
    work.next({w7, g7, m7, v7, peak7, size7});
    if (work.tile * TILE < work.mine.size) {
        const Weights mine = work.mine;
        const bool keep_peak = mine.peak != mine.v;
        const real *rate = rates + (row_of(step, rows) * columns + first + work.number) * 3;
        const real *constant = constants + (first + work.number) * 6;
        const AdamNumbers of{constant[0], constant[1], rate[0], rate[1], rate[2], constant[2], constant[3]};

        real w[EACH], g[EACH], m[EACH], v[EACH], peak[EACH], gradients = 0, updates = 0;
        const long long begin = work.tile * TILE + threadIdx.x;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const long long j = begin + i * THREADS;
            if (j < mine.size) {
                w[i] = mine.w[j];
                g[i] = mine.g[j];
                m[i] = mine.m[j];
                v[i] = mine.v[j];
                peak[i] = keep_peak ? mine.peak[j] : real(0);
            }
        }
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const long long j = begin + i * THREADS;
            if (j < mine.size) {
                const real free = adam_step(of, w[i], g[i], m[i], v[i], peak[i], keep_peak);
                const real moved = clipped(free, constant[4], constant[5]);
                mine.w[j] = moved;
                gradients += not_finite(g[i]);
                updates += not_finite(moved) + not_finite(m[i]) + not_finite(v[i]);
                mine.m[j] = m[i];
                mine.v[j] = v[i];
                if (keep_peak)
                    mine.peak[j] = peak[i];
            }
        }
        Watch(watch, step, first + work.number).note(gradients, updates);
    }
    end_step(step, arrived, last_launch);
}

// Steps of the optimizers, in place, for up to 48 weight arrays in a launch, and what is done to gradients before a step.
//
//   sgd_all       v = momentum v + g + decay w,   w -= rate v
//   adam_all      with g' = g + decay w:
//                 m = beta1 m + (1 - beta1) g',   v = beta2 v + (1 - beta2) g'^2,
//                 w -= (rate_m m + rate_g g') / (sqrt(v) scale_v + eps)
//                 with a peak (AMSGrad), the largest v so far, peak, replaces v. The rates include the bias corrections;
//                 rate_g is 0 except for NAdam.
//                 both then clip w to [least, most]
//   add_squares   totals[a] += sum of the squares of gradient a
//   clip_values   y = g clipped to [-limit, limit]
//   clip_norm     y = g min(1, limit / norm), norm = sqrt(sum of totals), the sums of the squares of all gradients of a step
//
// The rates of a step are in a table on the device, in the row that a counter on the device says; the last block of the
// launch advances the counter. So a captured graph takes its next step with the next rates, without a number from the
// host. Steps also watch for numbers that are not finite: `watch` says for each array the first step in which its gradient
// had one, and the first in which a weight, a mean or a velocity became one. All threads that see one in a step store the
// same number, the order does not matter. A gradient that is not finite stays so when it is clipped, and the others are not
// scaled by its norm: y is NaN for an array whose own total is not finite, and g for the others. The optimizer then notes
// which it was.
//
// Layout: arrays are (size,), C-contiguous, and have tiles (arrays.cuh). Of add_squares some blocks of 256 threads share a
// gradient, each thread taking elements at equal distances; the last block adds their sums, a gradient a warp.
// Sums: each is made by threads, blocks and numbers in a fixed order; each block of clip_norm adds the totals in theirs: no
// bit depends on the order of blocks.
// Precision: steps are `real` throughout, square root and division correctly rounded; compiled without fused multiply-add,
// the results equal the CPU's to the bit. Squares, totals, the norm and its factor are double.
// Twins: kernels/optim/cpu.py. Tests: tests/kernels/test_twins_optim.py.

#include "arrays.cuh"
#include "warp.cuh"

// A step of an optimizer: constants and rates of an array, and the update of an element by them. STATES are the arrays
// next to the weights; the first WATCHED are always there, and are to be finite.
struct Sgd {
    static constexpr int CONSTANTS = 2, RATES = 1, STATES = 1, WATCHED = 1;
    real momentum, decay, rate;

    __device__ __forceinline__ Sgd(const real *constants, const real *rates)
        : momentum(constants[0]), decay(constants[1]), rate(rates[0])
    {
    }

    __device__ __forceinline__ real moved(real w, real g, real (&state)[STATES], real *const (&)[STATES]) const
    {
        real &v = state[0];
        v = momentum * v + (g + decay * w);
        return w - rate * v;
    }
};

struct Adam {
    static constexpr int CONSTANTS = 4, RATES = 3, STATES = 3, WATCHED = 2;
    real beta1, beta2, eps, decay, rate_m, rate_g, scale_v;

    __device__ __forceinline__ Adam(const real *constants, const real *rates)
        : beta1(constants[0]), beta2(constants[1]), eps(constants[2]), decay(constants[3]), rate_m(rates[0]),
          rate_g(rates[1]), scale_v(rates[2])
    {
    }

    __device__ __forceinline__ real moved(real w, real g, real (&state)[STATES], real *const (&arrays)[STATES]) const
    {
        real &m = state[0], &v = state[1], &peak = state[2];
        const real slope = g + decay * w;
        m = beta1 * m + (real(1) - beta1) * slope;
        v = beta2 * v + (real(1) - beta2) * (slope * slope);
        if (arrays[2])
            peak = v > peak ? v : peak;
        return w - (rate_m * m + rate_g * slope) / (sqrt(arrays[2] ? peak : v) * scale_v + eps);
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

// The place of the first array of a launch in a table, which all launches of a step have.
struct Place {
    long long rows;     // steps of the table
    long long columns;  // arrays of all launches of this step
    long long first;    // arrays of earlier launches
    bool last_launch;   // whether this is the last one
};

// The table of a rule's numbers on the device.
struct Table {
    const real *constants;  // (columns, ...): the rule's, least, most
    const real *rates;      // (rows, columns, ...)
    long long *step;        // (2,), row of the rates of this step and the steps before row 0
    long long *watch;       // (columns, 2), first steps whose gradient or update is not finite, else 0
    const Place &place;
};

// Moves the weights of a tile. A state without an array is null.
template <typename Rule, int STATES = Rule::STATES>
__device__ __forceinline__ void take_step(
    const Tile &tile, real *w, const real *g, real *const (&arrays)[STATES], const Table &table)
{
    const long long column = table.place.first + tile.array;
    // The last row is for a graph that runs more often than its table has rows.
    const long long row = *table.step < table.place.rows ? *table.step : table.place.rows - 1;
    const real *constants = table.constants + column * (Rule::CONSTANTS + 2), *bounds = constants + Rule::CONSTANTS;
    const Rule rule(constants, table.rates + (row * table.place.columns + column) * Rule::RATES);

    real weights[EACH], slopes[EACH], states[EACH][STATES], gradients = 0, updates = 0;
    tile.visit([&](int i, long long j) {
        weights[i] = w[j];
        slopes[i] = g[j];
#pragma unroll
        for (int k = 0; k < STATES; ++k)
            states[i][k] = k < Rule::WATCHED || arrays[k] ? arrays[k][j] : real(0);
    });
    tile.visit([&](int i, long long j) {
        const real moved = clipped(rule.moved(weights[i], slopes[i], states[i], arrays), bounds[0], bounds[1]);
        w[j] = moved;
        gradients += not_finite(slopes[i]);
        updates += not_finite(moved);
#pragma unroll
        for (int k = 0; k < STATES; ++k) {
            if (k < Rule::WATCHED)
                updates += not_finite(states[i][k]);
            if (k < Rule::WATCHED || arrays[k])
                arrays[k][j] = states[i][k];
        }
    });
    Watch(table.watch, table.step, column).note(gradients, updates);
}

// Advances the counter of steps once all blocks have read it.
__device__ __forceinline__ void end_step(long long *step, unsigned *arrived, bool last_launch)
{
    if (last_launch && is_last_block(arrived) && threadIdx.x == 0)
        ++*step;
}

extern "C" __global__ __launch_bounds__(THREADS) void sgd_all(
    Arrays<real> w,                       // weights, updated
    Arrays<const real> g,                 // gradients
    Arrays<real> v,                       // velocities, updated
    const real *__restrict__ constants,   // (columns, 4): momentum, weight decay, least, most
    const real *__restrict__ rates,       // (rows, columns, 1): learning rate
    long long *__restrict__ step,         // (2,), row of the rates of this step, advanced by the last launch, and the steps
                                          // before row 0
    long long *__restrict__ watch,        // (columns, 2), first steps whose gradient or update is not finite, else 0
    unsigned *__restrict__ arrived,       // (1,), blocks that have ended, 0 before and after
    const __grid_constant__ Place place)  // of this launch in the table
{
    const Tile tile(w);
    if (tile.exists()) {
        real *const states[] = {v.at[tile.array]};
        const Table table{constants, rates, step, watch, place};
        take_step<Sgd>(tile, w.at[tile.array], g.at[tile.array], states, table);
    }
    end_step(step, arrived, place.last_launch);
}

extern "C" __global__ __launch_bounds__(THREADS) void adam_all(
    Arrays<real> w,                       // weights, updated
    Arrays<const real> g,                 // gradients
    Arrays<real> m,                       // means of the gradients, updated
    Arrays<real> v,                       // means of the squared gradients, updated
    Arrays<real> peak,                    // largest v so far, updated; none without AMSGrad
    const real *__restrict__ constants,   // (columns, 6): beta1, beta2, eps, weight decay, least, most
    const real *__restrict__ rates,       // (rows, columns, 3): rate_m, rate_g, scale_v
    long long *__restrict__ step,         // (2,), row of the rates of this step, advanced by the last launch, and the steps
                                          // before row 0
    long long *__restrict__ watch,        // (columns, 2), first steps whose gradient or update is not finite, else 0
    unsigned *__restrict__ arrived,       // (1,), blocks that have ended, 0 before and after
    const __grid_constant__ Place place)  // of this launch in the table
{
    const Tile tile(w);
    if (tile.exists()) {
        real *const states[] = {m.at[tile.array], v.at[tile.array], peak.at[tile.array]};
        const Table table{constants, rates, step, watch, place};
        take_step<Adam>(tile, w.at[tile.array], g.at[tile.array], states, table);
    }
    end_step(step, arrived, place.last_launch);
}

extern "C" __global__ __launch_bounds__(THREADS) void add_squares(
    Arrays<const real> g,            // gradients
    double *__restrict__ parts,      // (arrays x blocks,), sums of squares, written
    double *__restrict__ totals,     // (arrays of all launches,), updated
    unsigned *__restrict__ arrived,  // (1,), blocks that have ended, 0 before and after
    long long first,                 // arrays of earlier launches
    int arrays,                      // arrays of this launch
    long long blocks)                // blocks that share a gradient
{
    constexpr int WARPS = THREADS / LANES;
    __shared__ double of_warps[WARPS];
    const int number = blockIdx.x / blocks, lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const real *mine = g.at[number];
    const long long size = g.size[number];
    double sum = 0;
#pragma unroll 4
    for (long long j = blockIdx.x % blocks * THREADS + threadIdx.x; j < size; j += blocks * THREADS)
        sum += double(mine[j]) * double(mine[j]);
    sum = warp_sum(sum);
    if (lane == 0)
        of_warps[warp] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < WARPS; ++i)
            sum += of_warps[i];
        parts[blockIdx.x] = sum;
    }
    if (!is_last_block(arrived))
        return;
    for (int a = warp; a < arrays; a += WARPS) {
        double all = 0;
        for (long long i = lane; i < blocks; i += LANES)
            all += parts[a * blocks + i];
        all = warp_sum(all);
        if (lane == 0)
            totals[first + a] += all;
    }
}

extern "C" __global__ __launch_bounds__(THREADS) void clip_values(
    Arrays<const real> g,  // gradients
    Arrays<real> y,        // clipped gradients, written
    real limit)            // the largest absolute value
{
    const Tile tile(g);
    const real *from = g.at[tile.array];
    real *to = y.at[tile.array];
    tile.visit([=](int, long long j) {
        const real x = from[j];
        to[j] = x - x != 0 ? x : x > limit ? limit : x < -limit ? -limit : x;
    });
}

extern "C" __global__ __launch_bounds__(THREADS) void clip_norm(
    Arrays<const real> g,               // gradients
    Arrays<real> y,                     // clipped gradients, written
    const double *__restrict__ totals,  // (columns,), sums of squares of all gradients of the step
    long long columns,                  // all gradients of the step
    long long first,                    // the number of the first array of this launch
    double limit)                       // the largest norm
{
    const Tile tile(g);
    if (!tile.exists())
        return;
    double sum = 0;
#pragma unroll 1
    for (long long i = 0; i < columns; ++i)
        sum += totals[i];
    const double own = totals[first + tile.array], norm = sqrt(sum);
    // x - x is NaN unless x is finite.
    const double common = sum - sum == 0 && norm > limit ? limit / norm : 1.0;
    const real factor = real(own - own == 0 ? common : own - own);
    const real *from = g.at[tile.array];
    real *to = y.at[tile.array];
    tile.visit([=](int, long long j) { to[j] = from[j] * factor; });
}

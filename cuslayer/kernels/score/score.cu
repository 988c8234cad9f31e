// What a batch adds to the score of an epoch, and the squares of gradients, summed on the device.
//
//   score_add     totals += (loss, correctly classified samples, samples, 1 if a neuron has a spike, 1)
//                 a sample's class is the neuron with most spikes; of equal counts, the lowest
//                 totals[5] is the number of the first batch, from 1, whose loss is not finite, totals[6] that of the
//                 first whose output is not; 0 if there is none
//   add_squares   totals[a] += sum of the squares of gradient a, for up to 8 gradients in one launch
//
// The output is booleans, numbers (_numbers) or packed spikes (_packed).
//
// Layout: s is (steps, columns) with columns = samples x neurons, C-contiguous; packed spikes are (steps, samples, words of a
// sample). A block of score_add has 16 warps and 32 columns: a lane counts one column, a warp one part of the steps; the
// last block to end then classifies, a sample a warp, and adds to the totals. Of add_squares some blocks of 256 threads
// share a gradient, each thread taking elements at equal distances; the last block adds their sums, a gradient a warp.
// Sums: each is made by threads, blocks and numbers in a fixed order: its bits do not depend on which block ends last.
// Precision: counts, squares and totals are double; counts are compared as `real`.
// Twins: kernels/score/cpu.py. Tests: tests/kernels/test_twins_score.py.

#include "columns.cuh"

constexpr int PARTS = 16;
// Rows that a thread loads before it uses the first.
constexpr int BATCH = 8;

// The most frequent class so far.
struct Most {
    real count;
    long long neuron;

    // Takes another class if it has more spikes, or as many and a lower number.
    __device__ __forceinline__ void meet(real other, long long number)
    {
        if (other > count || (other == count && number < neuron)) {
            count = other;
            neuron = number;
        }
    }
};

// The class of a sample, found by a warp.
__device__ __forceinline__ long long most_frequent(const double *counts, long long neurons)
{
    Most most{real(counts[0]), 0};
    for (long long j = threadIdx.x; j < neurons; j += LANES)
        most.meet(real(counts[j]), j);
    for (int distance = LANES / 2; distance > 0; distance /= 2) {
        const real other = __shfl_down_sync(ALL_LANES, most.count, distance);
        const long long number = __shfl_down_sync(ALL_LANES, most.neuron, distance);
        most.meet(other, number);
    }
    return __shfl_sync(ALL_LANES, most.neuron, 0);
}

template <typename Train>
__device__ __forceinline__ void add_batch(
    const Train &s, const long long *__restrict__ labels, const real *__restrict__ error, double *__restrict__ counts,
    bool *__restrict__ fired, double *__restrict__ totals, unsigned *__restrict__ arrived, long long steps,
    long long samples, long long neurons, bool by_class, bool with_error, double factor)
{
    __shared__ double parts[PARTS][LANES];
    __shared__ int right[PARTS];
    const int lane = threadIdx.x, part = threadIdx.y;
    const long long columns = samples * neurons, m = blockIdx.x * (long long)LANES + lane;
    const long long length = (steps + PARTS - 1) / PARTS;
    const long long begin = m < columns ? part * length : steps;
    const long long end = begin + length < steps ? begin + length : steps;
    double count = 0;
    bool any = false;
#pragma unroll 1
    for (long long t = begin; t < end; t += BATCH) {
        decltype(s(t)) rows[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; ++i)
            rows[i] = t + i < end ? s(t + i) : 0;
#pragma unroll
        for (int i = 0; i < BATCH; ++i) {
            count += double(rows[i]);
            any = any || rows[i] != 0;
        }
    }
    parts[part][lane] = count;
    const bool block_fired = __syncthreads_or(any);
    if (part == 0 && m < columns) {
        double sum = 0;
        for (int i = 0; i < PARTS; ++i)
            sum += parts[i][lane];
        counts[m] = sum;
    }
    if (part == 0 && lane == 0)
        fired[blockIdx.x] = block_fired;
    if (!is_last_block(arrived))
        return;

    int mine = 0;
    if (by_class)
        for (long long n = part; n < samples; n += PARTS)
            mine += most_frequent(counts + n * neurons, neurons) == labels[n];
    if (lane == 0)
        right[part] = mine;
    any = false;
    for (long long i = part * LANES + lane; i < gridDim.x; i += PARTS * LANES)
        any = any || fired[i];
    const bool all_fired = __syncthreads_or(any);
    // Only numbers can have a sum that is not finite.
    bool wrong = false;
    if (sizeof(s(0)) == sizeof(real))
        for (long long i = part * LANES + lane; i < columns; i += PARTS * LANES)
            wrong = wrong || counts[i] - counts[i] != 0;
    const bool output_wrong = __syncthreads_or(wrong);
    if (part == 0 && lane == 0) {
        for (int i = 1; i < PARTS; ++i)
            mine += right[i];
        const double loss = with_error ? double(*error) * factor : factor;
        totals[0] += loss;
        totals[1] += mine;
        totals[2] += double(samples);
        totals[3] += all_fired;
        totals[4] += 1;
        if (loss - loss != 0 && totals[5] == 0)
            totals[5] = totals[4];
        if (output_wrong && totals[6] == 0)
            totals[6] = totals[4];
    }
}

extern "C" __global__ __launch_bounds__(LANES * PARTS, 1) void score_add(
    const bool *__restrict__ s,            // (steps, columns), spikes
    const long long *__restrict__ labels,  // (samples,), classes; any array, not accessed, unless by class
    const real *__restrict__ error,        // (1,), loss of the batch; any array, not accessed, without error
    double *__restrict__ counts,           // (columns,), spikes of each neuron, written
    bool *__restrict__ fired,              // (blocks,), whether a block has seen a spike, written
    double *__restrict__ totals,           // (7,), as above, updated
    unsigned *__restrict__ arrived,        // (1,), blocks that have ended, 0 before and after
    long long steps,                       // time steps
    long long samples,                     // samples of the batch
    long long neurons,                     // neurons of a sample
    bool by_class,                         // the targets are classes
    bool with_error,                       // the loss is in an array
    double factor)                         // factor of the loss; without an array, the loss itself
{
    const Place place(samples, neurons);
    add_batch(
        Column<bool>(s, samples * neurons, place.m), labels, error, counts, fired, totals, arrived, steps, samples, neurons,
        by_class, with_error, factor);
}

extern "C" __global__ __launch_bounds__(LANES * PARTS, 1) void score_add_numbers(
    const real *__restrict__ s,            // (steps, columns), numbers
    const long long *__restrict__ labels,  // (samples,), classes; any array, not accessed, unless by class
    const real *__restrict__ error,        // (1,), loss of the batch; any array, not accessed, without error
    double *__restrict__ counts,           // (columns,), spikes of each neuron, written
    bool *__restrict__ fired,              // (blocks,), whether a block has seen a spike, written
    double *__restrict__ totals,           // (7,), as above, updated
    unsigned *__restrict__ arrived,        // (1,), blocks that have ended, 0 before and after
    long long steps,                       // time steps
    long long samples,                     // samples of the batch
    long long neurons,                     // neurons of a sample
    bool by_class,                         // the targets are classes
    bool with_error,                       // the loss is in an array
    double factor)                         // factor of the loss; without an array, the loss itself
{
    const Place place(samples, neurons);
    add_batch(
        Column<real>(s, samples * neurons, place.m), labels, error, counts, fired, totals, arrived, steps, samples, neurons,
        by_class, with_error, factor);
}

extern "C" __global__ __launch_bounds__(LANES * PARTS, 1) void score_add_packed(
    const unsigned *__restrict__ s,        // (steps, samples, words of a sample), packed spikes
    const long long *__restrict__ labels,  // (samples,), classes; any array, not accessed, unless by class
    const real *__restrict__ error,        // (1,), loss of the batch; any array, not accessed, without error
    double *__restrict__ counts,           // (columns,), spikes of each neuron, written
    bool *__restrict__ fired,              // (blocks,), whether a block has seen a spike, written
    double *__restrict__ totals,           // (7,), as above, updated
    unsigned *__restrict__ arrived,        // (1,), blocks that have ended, 0 before and after
    long long steps,                       // time steps
    long long samples,                     // samples of the batch
    long long neurons,                     // neurons of a sample
    bool by_class,                         // the targets are classes
    bool with_error,                       // the loss is in an array
    double factor)                         // factor of the loss; without an array, the loss itself
{
    const Place place(samples, neurons);
    add_batch(
        PackedColumn(s, samples, neurons, place.sample, place.neuron), labels, error, counts, fired, totals, arrived, steps,
        samples, neurons, by_class, with_error, factor);
}

constexpr int ARRAYS = 8;
constexpr int THREADS = ARRAYS * LANES;

// A gradient and its size.
struct Gradient {
    const real *g;
    long long size;
};

extern "C" __global__ __launch_bounds__(THREADS) void add_squares(
    const real *__restrict__ g0,     // (size,) of each array, gradients; those past the last array have size 0
    const real *__restrict__ g1,
    const real *__restrict__ g2,
    const real *__restrict__ g3,
    const real *__restrict__ g4,
    const real *__restrict__ g5,
    const real *__restrict__ g6,
    const real *__restrict__ g7,
    double *__restrict__ parts,      // (blocks,), sums of squares, written
    double *__restrict__ totals,     // (arrays of all launches,), updated
    unsigned *__restrict__ arrived,  // (1,), blocks that have ended, 0 before and after
    long long size0,                 // sizes
    long long size1,
    long long size2,
    long long size3,
    long long size4,
    long long size5,
    long long size6,
    long long size7,
    long long first,                 // arrays of earlier launches
    int arrays,                      // arrays of this launch
    long long blocks)                // blocks that share a gradient
{
    __shared__ double of_warps[ARRAYS];
    const int number = blockIdx.x / blocks, lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    Gradient mine{g0, size0};
    if (number == 1)
        mine = {g1, size1};
    if (number == 2)
        mine = {g2, size2};
    if (number == 3)
        mine = {g3, size3};
    if (number == 4)
        mine = {g4, size4};
    if (number == 5)
        mine = {g5, size5};
    if (number == 6)
        mine = {g6, size6};
    if (number == 7)
        mine = {g7, size7};
    double sum = 0;
#pragma unroll 4
    for (long long j = blockIdx.x % blocks * THREADS + threadIdx.x; j < mine.size; j += blocks * THREADS)
        sum += double(mine.g[j]) * double(mine.g[j]);
    sum = warp_sum(sum);
    if (lane == 0)
        of_warps[warp] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < ARRAYS; ++i)
            sum += of_warps[i];
        parts[blockIdx.x] = sum;
    }
    if (is_last_block(arrived) && warp < arrays) {
        double all = 0;
        for (long long i = lane; i < blocks; i += LANES)
            all += parts[warp * blocks + i];
        all = warp_sum(all);
        if (lane == 0)
            totals[first + warp] += all;
    }
}

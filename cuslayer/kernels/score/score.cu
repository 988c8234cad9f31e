// What a batch adds to the score of an epoch, summed on the device.
//
//   score_add   totals += (loss, correctly classified samples, samples, 1 if a neuron has a spike, 1)
//               a sample's class is the neuron with most spikes; of equal counts, the lowest
//               totals[5] is the number of the first batch, from 1, whose loss is not finite, totals[6] that of the
//               first whose output is not; 0 if there is none
//
// The output is booleans, numbers or packed spikes.
//
// Layout: s is (steps, columns) with columns = samples x neurons, C-contiguous; packed spikes are (steps, samples, words of a
// sample). A block of score_add has 16 warps and 32 columns: a lane counts one column, a warp one part of the steps; the
// last block to end then classifies, a sample a warp, and adds to the totals.
// Sums: each is made by threads, blocks and numbers in a fixed order: its bits do not depend on which block ends last.
// Precision: counts and totals are double; counts are compared as `real`.
// Twins: kernels/score/cpu.py. Tests: tests/kernels/test_twins_spike_count.py.

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

extern "C" __global__ __launch_bounds__(LANES * PARTS, 1) void score_add(
    const bool *__restrict__ spikes,       // (steps, columns), of form SPIKES; else any array, not accessed, as the next two
    const real *__restrict__ numbers,      // (steps, columns), of form NUMBERS
    const unsigned *__restrict__ packed,   // (steps, samples, words of a sample), of form PACKED
    const long long *__restrict__ labels,  // (samples,), classes; any array, not accessed, unless by class
    const real *__restrict__ error,        // (1,), loss of the batch; any array, not accessed, without error
    double *__restrict__ counts,           // (columns,), spikes of each neuron, written
    bool *__restrict__ fired,              // (blocks,), whether a block has seen a spike, written
    double *__restrict__ totals,           // (7,), as above, updated
    unsigned *__restrict__ arrived,        // (1,), blocks that have ended, 0 before and after
    int form,                              // of the output
    long long steps,                       // time steps
    long long samples,                     // samples of the batch
    long long neurons,                     // neurons of a sample
    bool by_class,                         // the targets are classes
    bool with_error,                       // the loss is in an array
    double factor)                         // factor of the loss; without an array, the loss itself
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
    const Column s(form, spikes, numbers, packed, samples, neurons);
#pragma unroll 1
    for (long long t = begin; t < end; t += BATCH) {
        real rows[BATCH];
        s.read(rows, t, [=](long long row) { return row < end; });
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
    if (form == NUMBERS)
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

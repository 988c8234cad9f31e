// The dense layer for packed spikes, and the gradient of its weight; matmul.cu has the gradient of the input.
//
//   dense                  out[r, j] = sum of w[i, j] over the inputs i that spike in frame r
//   dense_weight_adjoint   g_w[i, j] = sum of errors[r, j] over the frames r in which input i spikes
//
// Layout: words (rows, lines, line_words) has the spikes of a frame as bits; frames are ordered by step, then sample,
// and input i is place i % line of line i / line. by_neuron (inputs, samples, time_words) has the steps of each input
// as bits. The other arrays are matrices of `real`. C-contiguous.
//
//                  lanes: 32 outputs, 1 or 4 times               lanes: 32 outputs, 1 or 4 times
//                +---------------------------+                 +---------------------------+
//   dense        | w, row of the 1st spike   |   weight        | errors, row of 1st spike  |   block: an input,
//   warp: a      | w, row of the 2nd         |   adjoint       | errors, row of 2nd        |   128 outputs; its warps
//   frame, 128   | ...                       |   warp: an 8th  | ...                       |   are added in shared
//   outputs      | sum in the CPU's order    |   of an input   | sum in the same way       |   memory, in their order
//                +---------------------------+                 +---------------------------+
//
// dense: a warp lists the spikes of a frame (spike_list.cuh) and reads the words of its next frame meanwhile. The
// weights come through the L1 cache. A copy in shared memory of the weights of all 2,312 inputs of a recording would
// leave room for 16 outputs: the list of a frame, which costs as much as the sum of its spikes, would be built 32 times
// for 512 outputs, and not 4 times. The inputs that spike often are few, and their rows stay in the cache.
// dense_weight_adjoint: a warp takes 32 words of the input at a time, every 8th group of them.
//
// Busy inputs: dense_weight_adjoint has another way for them. Four successive inputs are a group, and each of their
// four blocks counts the bits of the group. If more than a third of them are 1, no spikes are listed: the blocks share
// the outputs, 32 for each, and a warp reads the rows of all steps of its words and multiplies them by the bits, 0 or
// 1:
//
//     block of input      0           1           2           3
//     outputs          0 to 31    32 to 63    64 to 95    96 to 127    for the inputs 0, 1, 2, 3 of the group
//     a warp: every 8th word of 32 steps;  part[i] += (bit of input i at step t) * errors[t, output]
//
// Which way a group takes depends on its bits alone, and so do the sums. A term that is not finite makes the sums of all
// inputs of a busy group no numbers, since 0 times infinity is none.
//
// Cost, in instructions of a warp on sm_90 in float32, for a frame and 128 outputs: 120 for the words of a frame (4,096
// inputs), 75 to list 32 spikes, 15 to add a spike: 17 for each. A row for a spike is 512 bytes. A busy group takes 13
// instructions and 128 bytes for each input and step, whether it spikes. A multiprocessor of an H100 issues 4
// instructions a cycle, and gets about 27 bytes a cycle from the L2 cache: 4 and 19 cycles for a spike, 3 and 5 for a
// step of a busy group. So the busy way is faster above 5 / 19 = a quarter of all steps if all rows come from the L2
// cache, and above a third if half of the rows of spikes are in the L1 cache, which the four blocks of a multiprocessor
// share: they are not in step, and more rows than that are not found there. Where all inputs spike, it is 4 times as
// fast by these numbers. To count costs each block 5 loads a thread and a barrier, for 32 samples of 300 steps.
//
// Precision: `real` throughout; compiled without fused multiply-add, `dense` equals the CPU's to the bit. The adjoint
// adds in another order, which does not depend on the device.
// Twins: kernels/synapse/dense/cpu.py. Tests: tests/kernels/test_twins_dense.py.

#include "spike_list.cuh"

// Words of a lane that `dense` loads together: a frame of 4,096 inputs.
constexpr int DEPTH = 4;
// Groups of 32 outputs of a warp, if there are more than 32 outputs.
constexpr int GROUPS = 4;
// Warps of a block of `dense`; warps of a block of dense_weight_adjoint, each of which adds up a part of an input's
// spikes.
constexpr int WARPS = 8, PARTS = 8;

template <int groups>
__device__ __forceinline__ void add_weights(
    const unsigned *words, const real *w, real *out, long long rows, long long outputs, unsigned frame_words,
    const Entries &entries, SpikeList<DEPTH> &spikes)
{
    const long long tiles = (outputs + groups * LANES - 1) / (groups * LANES), stride = gridDim.x / tiles * WARPS;
    const long long output = blockIdx.x % tiles * groups * LANES + threadIdx.x % LANES;
    long long row = blockIdx.x / tiles * WARPS + threadIdx.x / LANES;
    Words<DEPTH> next(words + row * frame_words, row < rows ? frame_words : 0, 0);
    for (; row < rows; row += stride) {
        const Words<DEPTH> loaded = next;
        const long long after = row + stride;
        next = Words<DEPTH>(words + after * frame_words, after < rows ? frame_words : 0, 0);
        real total[groups];
        sum_rows(
            total, loaded, words + row * frame_words, frame_words, entries, spikes, w, outputs,
            output - threadIdx.x % LANES);
#pragma unroll
        for (int k = 0; k < groups; ++k)
            if (output + k * LANES < outputs)
                out[row * outputs + output + k * LANES] = total[k];
    }
}

extern "C" __global__ __launch_bounds__(WARPS * LANES, sizeof(real) == 4 ? 4 : 3) void dense(
    const unsigned *__restrict__ words,  // (rows, lines, line_words), spikes
    const real *__restrict__ w,          // (inputs, outputs)
    real *__restrict__ out,              // (rows, outputs), written
    long long rows,                      // frames
    long long outputs,                   // neurons of the layer
    long long lines,                     // of a frame
    long long line_words,                // words of a line
    long long line)                      // inputs of a line
{
    __shared__ SpikeList<DEPTH> spikes[WARPS];
    SpikeList<DEPTH> &mine = spikes[threadIdx.x / LANES];
    const Entries entries(line_words, line, 1);
    if (outputs <= LANES)
        add_weights<1>(words, w, out, rows, outputs, lines * line_words, entries, mine);
    else
        add_weights<GROUPS>(words, w, out, rows, outputs, lines * line_words, entries, mine);
}

// The sum of this warp's part for `groups` groups of outputs, from `output` on. `loaded` are its first words.
template <int groups>
__device__ __forceinline__ void add_errors(
    real *sums, const Words<1> &loaded, const unsigned *steps, const real *errors, long long samples,
    long long time_words, long long outputs, long long output, SpikeList<1> &spikes)
{
    const unsigned lane = threadIdx.x % LANES, first = threadIdx.x / LANES * LANES, count = samples * time_words;
    RowSums<groups> added;
    // Word v of sample n has the frames (32 v + b) samples + n.
    const Entries entries(time_words, 1, samples);
    spikes.for_each(
        loaded, steps, count, first, PARTS * LANES, entries,
        [&](const unsigned *list, int size) { added.add(list, size, errors, outputs, output); });
    real total[groups];
    added.finish(total);
#pragma unroll
    for (int k = 0; k < groups; ++k)
        sums[k * LANES + lane] = total[k];
}

// Whether more than a third of the bits of `count` words are 1. All threads of a block call it together.
__device__ __forceinline__ bool are_busy(const unsigned *words, long long count, unsigned (&counted)[PARTS])
{
    unsigned mine = 0;
    for (long long i = threadIdx.x; i < count; i += PARTS * LANES)
        mine += __popc(words[i]);
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        mine += __shfl_xor_sync(ALL_LANES, mine, distance);
    if (threadIdx.x % LANES == 0)
        counted[threadIdx.x / LANES] = mine;
    __syncthreads();
    long long all = 0;
#pragma unroll
    for (int i = 0; i < PARTS; ++i)
        all += counted[i];
    return 3 * all > LANES * count;
}

// The bits of a word of each of GROUPS inputs as numbers, 0 or 1, for each step.
struct __align__(16) Masks {
    real of[LANES][GROUPS];
};

// The sums of this warp's part for `inputs` inputs and 32 outputs from `output` on: every row of errors is read, and
// multiplied by the bits. The steps of a word are added up first, so that the sums are more exact.
__device__ __forceinline__ void add_products(
    real *sums, const unsigned *by_neuron, int inputs, const real *errors, long long steps, long long samples,
    long long time_words, long long outputs, long long output, Masks &masks)
{
    const unsigned lane = threadIdx.x % LANES, count = samples * time_words, words = time_words;
    const long long stride = samples * outputs;
    // Lanes without an output compute the last one again, and so do places without an input.
    const long long column = min(output + lane, outputs - 1);
    const unsigned *of_input[GROUPS];
#pragma unroll
    for (int i = 0; i < GROUPS; ++i)
        of_input[i] = by_neuron + (long long)min(i, inputs - 1) * count;
    real total[GROUPS] = {};
    for (unsigned word = threadIdx.x / LANES; word < count; word += PARTS) {
        const unsigned sample = word / words, step = (word - sample * words) * LANES;
#pragma unroll
        for (int i = 0; i < GROUPS; ++i)
            masks.of[lane][i] = of_input[i][word] >> lane & 1 ? real(1) : real(0);
        __syncwarp();
        const real *row = errors + (step * samples + sample) * outputs + column;
        const int left = int(min(steps - step, (long long)LANES));
        real part[GROUPS] = {};
#pragma unroll 4
        for (int b = 0; b < left; ++b, row += stride) {
            const real error = *row;
#pragma unroll
            for (int i = 0; i < GROUPS; ++i)
                part[i] = fma(masks.of[b][i], error, part[i]);
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < GROUPS; ++i)
            total[i] += part[i];
    }
#pragma unroll
    for (int i = 0; i < GROUPS; ++i)
        sums[i * LANES + lane] = total[i];
}

// Element `at` of the sums of all parts, in their order.
__device__ __forceinline__ real sum_of_parts(const real (&sums)[PARTS][GROUPS * LANES], int at)
{
    real total = 0;
#pragma unroll
    for (int i = 0; i < PARTS; ++i)
        total += sums[i][at];
    return total;
}

// As many blocks a multiprocessor as shared memory and registers allow for lists of spikes.
extern "C" __global__ __launch_bounds__(PARTS * LANES, sizeof(real) == 4 ? 4 : 2) void dense_weight_adjoint(
    const unsigned *__restrict__ by_neuron,  // (inputs, samples, time_words), spikes
    const real *__restrict__ errors,         // (steps, samples, outputs), gradient of the weighted input
    real *__restrict__ g_w,                  // (inputs, outputs), written
    long long inputs,                        // rows of the weight
    long long steps,                         // time steps
    long long samples,                       // samples of the batch
    long long time_words,                    // words of all steps
    long long outputs)                       // neurons of the layer
{
    __shared__ SpikeList<1> spikes[PARTS];
    __shared__ real sums[PARTS][GROUPS * LANES];
    __shared__ Masks masks[PARTS];
    __shared__ unsigned counted[PARTS];
    const int width = outputs <= LANES ? LANES : GROUPS * LANES;
    const long long tiles = (outputs + width - 1) / width;
    const long long input = blockIdx.x / tiles, output = blockIdx.x % tiles * width, count = samples * time_words;
    const int part = threadIdx.x / LANES, member = int(input % GROUPS);
    const long long first = input - member;
    const int members = int(min(inputs - first, (long long)GROUPS));
    const unsigned *const group = by_neuron + first * count, *const mine = by_neuron + input * count;
    const Words<1> loaded(mine, unsigned(count), part * LANES);
    if (are_busy(group, members * count, counted)) {
        for (int k = member; k * LANES < width && output + k * LANES < outputs; k += members) {
            const long long column = output + k * LANES + threadIdx.x % LANES;
            add_products(
                sums[part], group, members, errors, steps, samples, time_words, outputs, output + k * LANES,
                masks[part]);
            __syncthreads();
            if (part < members && column < outputs)
                g_w[(first + part) * outputs + column] = sum_of_parts(sums, threadIdx.x);
            __syncthreads();
        }
        return;
    }
    if (outputs <= LANES)
        add_errors<1>(sums[part], loaded, mine, errors, samples, time_words, outputs, output, spikes[part]);
    else
        add_errors<GROUPS>(sums[part], loaded, mine, errors, samples, time_words, outputs, output, spikes[part]);
    __syncthreads();
    if (threadIdx.x < width && output + threadIdx.x < outputs)
        g_w[input * outputs + output + threadIdx.x] = sum_of_parts(sums, threadIdx.x);
}

// The dense layer for packed spikes, and its gradients.
//
//   dense                  out[r, j] = sum of w[i, j] over the inputs i that spike in frame r
//   dense_weight_adjoint   g_w[i, j] = sum of errors[r, j] over the frames r in which input i spikes
//   dense_input_adjoint    g_x[r, i] = sum_j errors[r, j] w[i, j]
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
//   outputs      | sum in fours              |   of an input   | sum in fours              |   memory, in their order
//                +---------------------------+                 +---------------------------+
//
// dense: a warp lists the spikes of a frame (spike_list.cuh) and reads the words of its next frame meanwhile. The
// weights come through the L1 cache. A copy in shared memory of the weights of all 2,312 inputs of a recording would
// leave room for 16 outputs: the list of a frame, which costs as much as the sum of its spikes, would be built 32 times
// for 512 outputs, and not 4 times. The inputs that spike often are few, and their rows stay in the cache.
// dense_weight_adjoint: a warp takes 32 words of the input at a time, every 8th group of them. dense_input_adjoint: a
// block computes a tile of 64 x 64, a thread 4 x 4 of it, and goes through the outputs 16 at a time.
//
// Cost, in instructions of a warp on sm_90 in float32, for a frame and 128 outputs: 120 for the words of a frame (4,096
// inputs), 75 to list 32 spikes, 15 to add a spike. A product of matrices takes 4 for each input, at its best. So
// walking the spikes pays while less than a fifth of the inputs spike at a step; spikes of trained networks are at 1 to
// 6 %. Nothing measures the activity: a layer of more activity is correct, and slower than a product. Memory: `dense`
// reads a row of w for each spike, dense_weight_adjoint a row of errors, both mostly from the caches.
//
// Precision: `real` throughout; compiled without fused multiply-add, `dense` equals the CPU's to the bit. The adjoints
// add in other orders, which do not depend on the device.
// Twins: kernels/dense/cpu.py. Tests: tests/kernels/test_twins_dense.py.

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
        real total[groups] = {};
        spikes.for_each(
            loaded, words + row * frame_words, frame_words, 0, DEPTH * LANES, entries,
            [&](const unsigned *list, int size) {
                add_in_fours(total, list, size, w, outputs, output - threadIdx.x % LANES);
            });
#pragma unroll
        for (int k = 0; k < groups; ++k)
            if (output + k * LANES < outputs)
                out[row * outputs + output + k * LANES] = total[k];
    }
}

extern "C" __global__ void dense(
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

// The sum of this warp's part for `groups` groups of outputs, from `output` on.
template <int groups>
__device__ __forceinline__ void add_errors(
    real *sums, const unsigned *steps, const real *errors, long long samples, long long time_words, long long outputs,
    long long output, SpikeList<1> &spikes)
{
    const unsigned lane = threadIdx.x % LANES, first = threadIdx.x / LANES * LANES, count = samples * time_words;
    real total[groups] = {};
    // Word v of sample n has the frames (32 v + b) samples + n.
    const Entries entries(time_words, 1, samples);
    spikes.for_each(
        Words<1>(steps, count, first), steps, count, first, PARTS * LANES, entries,
        [&](const unsigned *list, int size) {
            add_in_fours(total, list, size, errors, outputs, output);
        });
#pragma unroll
    for (int k = 0; k < groups; ++k)
        sums[k * LANES + lane] = total[k];
}

extern "C" __global__ void dense_weight_adjoint(
    const unsigned *__restrict__ by_neuron,  // (inputs, samples, time_words), spikes
    const real *__restrict__ errors,         // (steps, samples, outputs), gradient of the weighted input
    real *__restrict__ g_w,                  // (inputs, outputs), written
    long long samples,                       // samples of the batch
    long long time_words,                    // words of all steps
    long long outputs)                       // neurons of the layer
{
    __shared__ SpikeList<1> spikes[PARTS];
    __shared__ real sums[PARTS][GROUPS * LANES];
    const long long width = outputs <= LANES ? LANES : GROUPS * LANES, tiles = (outputs + width - 1) / width;
    const long long input = blockIdx.x / tiles, output = blockIdx.x % tiles * width;
    const unsigned *const steps = by_neuron + input * samples * time_words;
    const int part = threadIdx.x / LANES;
    if (outputs <= LANES)
        add_errors<1>(sums[part], steps, errors, samples, time_words, outputs, output, spikes[part]);
    else
        add_errors<GROUPS>(sums[part], steps, errors, samples, time_words, outputs, output, spikes[part]);
    __syncthreads();
    if (threadIdx.x < width && output + threadIdx.x < outputs) {
        real total = 0;
#pragma unroll
        for (int i = 0; i < PARTS; ++i)
            total += sums[i][threadIdx.x];
        g_w[input * outputs + output + threadIdx.x] = total;
    }
}

// Rows and columns of a block's tile of dense_input_adjoint, those of a thread, and outputs that are loaded together.
constexpr int SIDE = 64;
constexpr int EACH = 4;
constexpr int TOGETHER = 16;
// Not SIDE: the threads of a warp write 16 columns of two successive rows, or in double of one, to different banks.
constexpr int PITCH = SIDE + (sizeof(real) == 4 ? 2 : 1);

// Puts SIDE rows of a matrix (rows, outputs), from row `first` on, into shared memory, transposed: TOGETHER columns
// from `output` on, 0 outside of the matrix.
__device__ __forceinline__ void copy_transposed(
    real (&to)[TOGETHER][PITCH], const real *from, long long rows, long long outputs, long long first, long long output)
{
#pragma unroll
    for (int i = 0; i < SIDE * TOGETHER; i += SIDE / EACH * SIDE / EACH) {
        const int row = (i + threadIdx.x) / TOGETHER, column = threadIdx.x % TOGETHER;
        const bool inside = first + row < rows && output + column < outputs;
        to[column][row] = inside ? from[(first + row) * outputs + output + column] : 0;
    }
}

extern "C" __global__ __launch_bounds__(SIDE * SIDE / (EACH * EACH), 1) void dense_input_adjoint(
    const real *__restrict__ errors,  // (rows, outputs), gradient of the weighted input
    const real *__restrict__ w,       // (inputs, outputs)
    real *__restrict__ g_x,           // (rows, inputs), written
    long long rows,                   // frames
    long long inputs,                 // rows of the weight
    long long outputs)                // neurons of the layer
{
    __shared__ real left[TOGETHER][PITCH], right[TOGETHER][PITCH];
    const long long tiles = (inputs + SIDE - 1) / SIDE;
    const long long row = blockIdx.x / tiles * SIDE, input = blockIdx.x % tiles * SIDE;
    // A thread has the rows y, y + 16, ... and the columns x, x + 16, ... of the tile: a warp writes whole sectors.
    const int x = threadIdx.x % (SIDE / EACH), y = threadIdx.x / (SIDE / EACH);
    real sums[EACH][EACH] = {};
    for (long long output = 0; output < outputs; output += TOGETHER) {
        copy_transposed(left, errors, rows, outputs, row, output);
        copy_transposed(right, w, inputs, outputs, input, output);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < TOGETHER; ++k) {
            real a[EACH], b[EACH];
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                a[i] = left[k][y + i * (SIDE / EACH)];
                b[i] = right[k][x + i * (SIDE / EACH)];
            }
#pragma unroll
            for (int i = 0; i < EACH; ++i)
#pragma unroll
                for (int j = 0; j < EACH; ++j)
                    sums[i][j] = fma(a[i], b[j], sums[i][j]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < EACH; ++i)
#pragma unroll
        for (int j = 0; j < EACH; ++j) {
            const long long r = row + y + i * (SIDE / EACH), c = input + x + j * (SIDE / EACH);
            if (r < rows && c < inputs)
                g_x[r * inputs + c] = sums[i][j];
        }
}

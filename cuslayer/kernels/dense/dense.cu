// The dense layer for packed spikes, and its gradients.
//
//   dense                  out[r, j] = sum of w[i, j] over the inputs i that spike in frame r
//   dense_weight_adjoint   g_w[i, j] = sum of errors[r, j] over the frames r in which input i spikes
//   dense_input_adjoint    g_x[r, i] = sum_j errors[r, j] w[i, j]
//
// Layout: words (rows, lines, line_words) has the spikes of a frame as bits; frames are ordered by step, then sample, and
// input i is place i % line of line i / line. by_neuron (inputs, samples, time_words) has the steps of each input as bits.
// The other arrays are matrices of `real`. C-contiguous.
//
//                     lanes: 32 outputs                                 lanes: 32 outputs, up to 4 times
//                  +--------------------+                            +--------------------+
//   dense   spikes | w, row of spike    |   weight   steps of input, | errors, row of     |  block: an input, 128 outputs
//   warp:   of a   | ...                |   adjoint  a part for each | the step's frame   |  parts are added in shared
//   a frame frame  | sum in order       |            warp            | sum                |  memory, in order of warps
//                  +--------------------+                            +--------------------+
//
// dense: a block has 32 outputs of some frames, and their weights in shared memory if they fit; else the weights come
// from the L1 cache. A warp lists the spikes of a frame (spike_list.cuh) and reads the words of its next frame meanwhile.
// dense_input_adjoint: a block computes a tile of 64 x 64, a thread 4 x 4 of it, and goes through the outputs 16 at a time.
//
// Cost, in instructions of a warp: a list of a frame takes 25 + 45 for each 64 words and 7 for each word with spikes, a
// spike 3 for each 32 outputs. A product of matrices takes 1 for each input and 32 outputs, at its best. So walking the
// spikes pays while fewer than about a quarter of the inputs spike at a step. Spikes of trained networks are at 1 to 6 %.
// 32 outputs a warp, not fewer: a list costs about as much as a walk, and a ballot is then a word of spikes.
// dense_weight_adjoint reads a row of errors for each spike, mostly from the L2 cache: spikes x outputs x sizeof(real).
//
// Precision: `real` throughout; compiled without fused multiply-add, `dense` equals the CPU's to the bit. The adjoints add
// in other orders, which do not depend on the device.
// Twins: kernels/dense/cpu.py. Tests: tests/kernels/test_twins_dense.py.

#include "spike_list.cuh"

extern __shared__ __align__(16) unsigned char shared[];

// Words of a lane that are loaded together: a frame of 4,096 inputs.
constexpr int DEPTH = 4;

extern "C" __global__ void dense(
    const unsigned *__restrict__ words,  // (rows, lines, line_words), spikes
    const real *__restrict__ w,          // (inputs, outputs)
    real *__restrict__ out,              // (rows, outputs), written
    long long rows,                      // frames
    long long inputs,                    // lines x line
    long long outputs,                   // neurons of the layer
    long long lines,                     // of a frame
    long long line_words,                // words of a line
    long long line,                      // inputs of a line
    bool copied)                         // whether the weights of a block are copied into shared memory
{
    const long long tiles = (outputs + LANES - 1) / LANES, output = blockIdx.x % tiles * LANES;
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, warps = blockDim.x / LANES;
    real *const copy = reinterpret_cast<real *>(shared + warps * LIST * sizeof(unsigned));
    unsigned *const list = reinterpret_cast<unsigned *>(shared) + warp * LIST;
    if (copied)
        copy_rows(copy, w, inputs, outputs, output);
    __syncthreads();

    const Entries entries(line_words, line, 1);
    const long long frame_words = lines * line_words, stride = gridDim.x / tiles * warps;
    const DistantRows distant{w + min(output + lane, outputs - 1), outputs};
    long long row = blockIdx.x / tiles * warps + warp;
    Words<DEPTH> next(words + row * frame_words, row < rows ? frame_words : 0, 0);
    for (; row < rows; row += stride) {
        const Words<DEPTH> loaded = next;
        const long long after = row + stride;
        next = Words<DEPTH>(words + after * frame_words, after < rows ? frame_words : 0, 0);
        real total = 0;
        const auto add = [&](const unsigned *list, int size) {
            total = copied ? add_in_fours(total, list, size, SharedRows{copy + lane})
                           : add_in_fours(total, list, size, distant);
        };
        for_each_list(
            loaded, words + row * frame_words, frame_words, 0, DEPTH * LANES, entries, list, add);
        if (output + lane < outputs)
            out[row * outputs + output + lane] = total;
    }
}

// Warps of a block of dense_weight_adjoint; each adds up a part of an input's spikes.
constexpr int PARTS = 8;
// Groups of 32 outputs of a warp.
constexpr int GROUPS = 4;

// The sum of this warp's part for `groups` groups of outputs, from `output` on.
template <int groups>
__device__ __forceinline__ void add_errors(
    real *sums, const unsigned *steps, const real *errors, long long samples, long long time_words, long long outputs,
    long long output, unsigned *list)
{
    const unsigned lane = threadIdx.x % LANES, first = threadIdx.x / LANES * LANES, count = samples * time_words;
    const real *mine = errors + output + lane;
    real total[groups] = {};
    const auto add = [&](const unsigned *list, int size) {
#pragma unroll 4
        for (int e = 0; e < size; ++e) {
            const real *row = mine + list[e] * outputs;
#pragma unroll
            for (int k = 0; k < groups; ++k)
                total[k] += output + lane + k * LANES < outputs ? row[k * LANES] : 0;
        }
    };
    // Word v of sample n has the frames (32 v + b) samples + n.
    const Entries entries(time_words, 1, samples);
    for_each_list(Words<1>(steps, count, first), steps, count, first, PARTS * LANES, entries, list, add);
#pragma unroll
    for (int k = 0; k < groups; ++k)
        sums[k * LANES + lane] = total[k];
}

extern "C" __global__ void dense_weight_adjoint(
    const unsigned *__restrict__ by_neuron,  // (inputs, samples, time_words), spikes
    const real *__restrict__ errors,         // (steps, samples, outputs), gradient of the weighted input
    real *__restrict__ g_w,                  // (inputs, outputs), written
    long long inputs,                        // rows of the weight
    long long samples,                       // samples of the batch
    long long time_words,                    // words of all steps
    long long outputs)                       // neurons of the layer
{
    __shared__ unsigned lists[PARTS][LIST];
    __shared__ real sums[PARTS][GROUPS * LANES];
    const long long width = outputs <= LANES ? LANES : GROUPS * LANES, tiles = (outputs + width - 1) / width;
    const long long input = blockIdx.x / tiles, output = blockIdx.x % tiles * width;
    const unsigned *const steps = by_neuron + input * samples * time_words;
    const int part = threadIdx.x / LANES;
    if (width == LANES)
        add_errors<1>(sums[part], steps, errors, samples, time_words, outputs, output, lists[part]);
    else
        add_errors<GROUPS>(sums[part], steps, errors, samples, time_words, outputs, output, lists[part]);
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
// One more than SIDE: the threads of a warp then write different banks.
constexpr int PITCH = SIDE + 1;

// Puts SIDE rows of a matrix (rows, outputs), from row `first` on, into shared memory, transposed: TOGETHER columns from
// `output` on, 0 outside of the matrix.
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

extern "C" __global__ __launch_bounds__(SIDE * SIDE / (EACH * EACH)) void dense_input_adjoint(
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

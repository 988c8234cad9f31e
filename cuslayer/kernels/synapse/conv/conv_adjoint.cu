// Gradients of a convolution: of its weight, from packed spikes and errors, and of its input, from errors.
//
//   conv_weight_adjoint  g_w[i, j, c, o] = sum_{f, r, k} x[f, stride r + gap i - top, ...] errors[f, r, k, o]
//   add_parts            the sum of the partial sums of the blocks, in their order
//   conv_input_adjoint   g_x[f, y, z, c] = sum_{i, j, o} w[i, j, c, o] errors[f, r, k, o], stride r + gap i - top = y
//                        its first blocks do what add_parts does
//
// Layout: spikes are packed by rows, (frames, H, words of W C bits); errors are (frames, rows, columns, outputs),
// weights (kh, kw, C / groups, outputs), the gradient of the input (frames, H, W, C). C-contiguous.
//
// conv_weight_adjoint: block (part, channels, slice) takes `places` pixels of the map, `lanes` output channels,
// some parts of the window, and chunks of frames; see TapSums in tap_sums.cuh. Only spikes cost additions.
// conv_input_adjoint: a product of the matrices errors (pixels of x, taps x outputs of a group), which is gathered, not
// stored, and w (taps x outputs, channels of a group). A block of 128 threads computes 8,192 elements in float, 4,096
// in double, a fourth of them with few channels: a thread PIXELS x CHANNELS of them in registers; errors and weights of
// DEPTH outputs of a tap are in shared memory. Arithmetic intensity in float: 8 x 8 fused multiply-adds for 16 numbers
// read from shared memory; for 32 channels, 28 for each number that is read from L1 or L2, where all taps find the
// errors again.
// Precision: `real`. The order of each sum depends on the shapes alone: no float is added atomically.
// Twins: kernels/synapse/conv/cpu.py. Tests: tests/kernels/test_twins_conv_adjoint.py.

#include "warp.cuh"
#include "images.cuh"
#include "tap_sums.cuh"

extern __shared__ __align__(16) unsigned char shared[];

// The errors of one output at successive frames, read a batch ahead.
struct StoredErrors {
    const real *errors;  // of this output; null for a thread without one
    long long end;       // frames
    long long outputs;   // from one frame to the next
    real ahead[AHEAD];

    __device__ __forceinline__ void read(long long frame)
    {
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            ahead[j] = errors && frame + j < end ? errors[(frame + j) * outputs] : 0;
    }

    __device__ __forceinline__ void prepare(long long) {}

    __device__ __forceinline__ void compute(long long, real (&sums)[AHEAD])
    {
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            sums[j] = ahead[j];
    }
};

extern "C" __global__ void conv_weight_adjoint(
    const unsigned *__restrict__ x,   // (frames, height, words), packed spikes
    const real *__restrict__ errors,  // (frames, rows, columns, outputs)
    real *__restrict__ parts,         // (gridDim.x, kh, kw, channels / groups, outputs), written
    long long frames,                 // frames
    long long chunk,                  // frames of a partial sum, a multiple of AHEAD
    Image image,                      // of x
    Map map,                          // of the errors
    Window window,                    // of the convolution
    int groups,                       // groups of channels
    int lanes,                        // output channels of a block: of a group, or all of several groups
    int slice)                        // parts of the window of a block
{
    const PackedWindow packed(x, image, window, groups);
    const Lanes mine(map.channels, groups, lanes, blockIdx.y);
    const int places = blockDim.x / lanes;
    const int first = blockIdx.z * slice, last = min(first + slice, packed.pieces());
    const Tiles pixels{map.rows, map.columns, 1, 1, map.rows, map.columns, 1};
    const long long size = (long long)map.rows * map.columns;
    TapSums sums{packed, pixels, places, lanes, mine, image.channels / groups};
    sums.begin(reinterpret_cast<real *>(shared), first, last - first, 1);

    const long long tiles = (size + places - 1) / places, chunks = (frames + chunk - 1) / chunk;
    for (long long item = blockIdx.x; item < tiles * chunks; item += gridDim.x) {
        const long long pixel = item % tiles * places + threadIdx.x / lanes;
        const int lane = threadIdx.x % lanes;
        const bool active = pixel < size && lane < mine.used;
        const long long begin = item / tiles * chunk, end = min(begin + chunk, frames);
        const real *const column = errors + pixel * map.channels + mine.first + lane;
        StoredErrors stored{active ? column : nullptr, end, size * map.channels};
        sums.tile = item % tiles * places;
        sums.sum(stored, begin, end);
    }
    sums.write(parts + (long long)blockIdx.x * packed.first_bit(packed.pieces()) * map.channels, map.channels);
}

// Adds parts, 32 neighbouring elements in a block: first the parts row, row + PART_ROWS, ... of each row, then the rows.
constexpr int PART_ROWS = 16;

__device__ __forceinline__ void add_elements(
    const real *__restrict__ parts, real *__restrict__ sums, long long count, long long size, long long block)
{
    real (*const partial)[LANES + 1] = reinterpret_cast<real (*)[LANES + 1]>(shared);
    const int lane = threadIdx.x % LANES;
    const long long i = block * LANES + lane;
    for (int row = threadIdx.x / LANES; row < PART_ROWS && i < size; row += blockDim.x / LANES) {
        real total = 0;
#pragma unroll 8
        for (long long part = row; part < count; part += PART_ROWS)
            total += parts[part * size + i];
        partial[row][lane] = total;
    }
    __syncthreads();
    if (threadIdx.x < LANES && i < size) {
        real total = partial[0][lane];
        for (int row = 1; row < PART_ROWS; ++row)
            total += partial[row][lane];
        sums[i] = total;
    }
}

extern "C" __global__ void add_parts(
    const real *__restrict__ parts,  // (count, size)
    real *__restrict__ sums,         // (size), written
    long long count,                 // parts
    long long size)                  // elements of a part
{
    add_elements(parts, sums, count, size, blockIdx.x);
}

// Threads of a block, and outputs of a tap that it multiplies at a time.
constexpr int THREADS = 128;
constexpr int DEPTH = 8;
// Pixels of a thread: fewer in double, whose sums take two registers each.
constexpr int PIXELS = sizeof(real) == 4 ? 8 : 4;

// The errors that the elements of an image get through a window.
struct Errors {
    const real *errors;  // (frames, rows, columns, outputs)
    const Image &image;
    const Map &map;
    const Window &window;
    long long pixels;    // of all images

    // The pixel of the map that reaches a pixel of x through tap (i, j); -1 if none does.
    __device__ __forceinline__ long long through(long long pixel, int i, int j) const
    {
        const int size = image.height * image.columns, place = pixel % size;
        const int output = reached(window, map, place / image.columns, place % image.columns, i, j);
        return pixel < pixels && output >= 0 ? pixel / size * (map.rows * map.columns) + output : -1;
    }
};

// Numbers that are read or written together: 16 bytes, or as many as there are.
template <int COUNT>
struct alignas((COUNT * sizeof(real) < 16 ? COUNT * sizeof(real) : 16)) Vector {
    static constexpr int SIZE = COUNT * sizeof(real) < 16 ? COUNT : 16 / sizeof(real);
    real of[SIZE];
};

// Reads numbers from shared memory, vectors that are `step` numbers apart.
template <int COUNT>
__device__ __forceinline__ void read_vectors(real (&numbers)[COUNT], const real *from, int step)
{
    constexpr int SIZE = Vector<COUNT>::SIZE;
#pragma unroll
    for (int i = 0; i < COUNT / SIZE; ++i) {
        const Vector<COUNT> vector = *reinterpret_cast<const Vector<COUNT> *>(from + i * step);
#pragma unroll
        for (int k = 0; k < SIZE; ++k)
            numbers[i * SIZE + k] = vector.of[k];
    }
}

// Computes THREADS PIXELS CHANNELS elements of the input gradient: `side` threads side by side have the channels,
// CHANNELS each, and THREADS / side threads the pixels, PIXELS each. The channels of a thread are vectors, between
// which lie its neighbours' sums, so that threads side by side write to successive addresses.
template <int CHANNELS>
__device__ __forceinline__ void add_taps(
    const Errors &from, const real *__restrict__ w, real *__restrict__ x, long long block, int group, int groups, int inputs,
    int of_group, int side)
{
    const int kernel_h = from.window.kernel_h, kernel_w = from.window.kernel_w;
    const int pixels = THREADS / side * PIXELS, row = pixels + 4;
    real *const errors = reinterpret_cast<real *>(shared);             // (DEPTH, pixels + 4): writes meet no bank twice
    real *const weights = errors + DEPTH * row;                        // (DEPTH, side CHANNELS)
    long long *const source = reinterpret_cast<long long *>(weights + DEPTH * side * CHANNELS);  // (pixels)
    constexpr int SIZE = Vector<CHANNELS>::SIZE;
    const int t = threadIdx.x, mine = t / side * PIXELS, channel = t % side * SIZE;
    const int block_channel = blockIdx.y / groups * side * CHANNELS;
    const long long first = block * pixels, outputs = (long long)groups * of_group;
    real sums[PIXELS][CHANNELS] = {};
    for (int tap = 0; tap < kernel_h * kernel_w; ++tap) {
        for (int p = t; p < pixels; p += THREADS)
            source[p] = from.through(first + p, tap / kernel_w, tap % kernel_w);
        for (int o = 0; o < of_group; o += DEPTH) {
            __syncthreads();
            const int d = t % DEPTH;
            const long long output = (long long)group * of_group + o + d;
            for (int p = t / DEPTH; p < pixels; p += THREADS / DEPTH)
                errors[d * row + p] =
                    source[p] >= 0 && o + d < of_group ? from.errors[source[p] * outputs + output] : 0;
            for (int c = t / DEPTH; c < side * CHANNELS; c += THREADS / DEPTH) {
                const bool used = block_channel + c < inputs && o + d < of_group;
                const long long at = ((long long)tap * inputs + block_channel + c) * outputs + output;
                weights[d * side * CHANNELS + c] = used ? w[at] : 0;
            }
            __syncthreads();
#pragma unroll
            for (int k = 0; k < DEPTH; ++k) {
                real error[PIXELS], weight[CHANNELS];
                read_vectors(error, errors + k * row + mine, Vector<PIXELS>::SIZE);
                read_vectors(weight, weights + k * side * CHANNELS + channel, side * SIZE);
#pragma unroll
                for (int p = 0; p < PIXELS; ++p)
#pragma unroll
                    for (int c = 0; c < CHANNELS; ++c)
                        sums[p][c] = fma(error[p], weight[c], sums[p][c]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int p = 0; p < PIXELS; ++p)
#pragma unroll
        for (int i = 0; i < CHANNELS / SIZE; ++i) {
            const long long pixel = first + mine + p;
            const int input = block_channel + i * side * SIZE + channel;
            if (pixel >= from.pixels || input >= inputs)
                continue;
            real *const to = x + (pixel * groups + group) * inputs + input;
            Vector<CHANNELS> vector;
#pragma unroll
            for (int k = 0; k < SIZE; ++k)
                vector.of[k] = sums[p][i * SIZE + k];
            if (inputs % SIZE == 0)
                *reinterpret_cast<Vector<CHANNELS> *>(to) = vector;
            else
                for (int k = 0; k < SIZE && input + k < inputs; ++k)
                    to[k] = vector.of[k];
        }
}

extern "C" __global__ void conv_input_adjoint(
    const real *__restrict__ errors,  // (frames, rows, columns, outputs)
    const real *__restrict__ w,       // (kernel_h, kernel_w, channels / groups, outputs)
    real *__restrict__ x,             // (frames, height, columns, channels), written
    const real *__restrict__ parts,   // (count, size), of the weight's gradient, or empty
    real *__restrict__ sums,          // (size), written, or empty
    long long frames,                 // frames
    Image image,                      // of x
    Map map,                          // of the errors
    Window window,                    // of the convolution
    int groups,                       // groups of channels
    int side,                         // threads side by side over the channels of a group
    bool wide,                        // whether a thread has 8 channels, else 2
    long long adders,                 // blocks that add parts
    long long count,                  // parts
    long long size)                   // elements of a part
{
    if (blockIdx.x < adders) {
        if (blockIdx.y == 0)
            add_elements(parts, sums, count, size, blockIdx.x);
        return;
    }
    const Errors from{errors, image, map, window, frames * image.height * image.columns};
    const int group = blockIdx.y % groups, inputs = image.channels / groups, of_group = map.channels / groups;
    if (wide)
        add_taps<8>(from, w, x, blockIdx.x - adders, group, groups, inputs, of_group, side);
    else
        add_taps<2>(from, w, x, blockIdx.x - adders, group, groups, inputs, of_group, side);
}

// Batch normalization of the channels of a signal.
//
//   batch_norm_statistics    mean[c], var[c] of x[r, c] over the rows r; the running ones move by momentum towards them
//   batch_norm               y = (x - centre) / divisor gain + offset, or times height in the place of gain and offset
//                            divisor: sqrt(var + eps), or the power of two at or above it, or 1
//   batch_norm_adjoint_sums  of_offset[c] = sum_r g,   of_gain[c] = sum_r g (x - centre) / divisor
//   batch_norm_adjoint       of_x = gain g / divisor, and with statistics of the batch of n rows
//                            + of_mean / n + 2 of_var / n (x - mean), where for a centre that is the mean
//                            of_mean = -gain of_offset / divisor,   of_var = -gain of_gain / (2 divisor^2) for a
//                            standard deviation, 0 for others
//
// Layout: x, y, g are (rows, channels), C-contiguous; a row is a pixel of a sample at a step. A block takes `width`
// channels and every so many rows: thread t has channel t % width, so that neighbouring threads read successive numbers.
//
//     width 3        thread   0  1  2  3  4  5  6 ...
//                    channel  0  1  2  0  1  2  0
//                    row      0  0  0  1  1  1  2
//
// Sums: a thread adds its rows, the block adds pairs of its threads as a tree, and the last block to end adds the sums of
// all blocks in the same way. The order depends on the shape alone.
// Precision: sums are double, for statistics of distances from a channel's first number, so that a large mean costs no
// digits. All else is `real`.
// Twins: kernels/norm/cpu.py. Tests: tests/kernels/test_twins_batch_norm.py.

#include "scaling.cuh"

constexpr int THREADS = 256;

// A signal, and how many blocks share it.
struct Shape {
    long long rows, channels;
    int width;  // channels of a block
    int parts;  // blocks that share the rows
};

// The channel of a thread and its rows, row, row + stride, ...
struct Share {
    int width, rows_of_block, tiles, parts;
    long long channels;
    int line;            // of the block's rows of threads
    long long tile, row, stride;

    __device__ __forceinline__ Share(const Shape &of)
        : width(of.width), rows_of_block(THREADS / width), tiles((of.channels + width - 1) / width), parts(of.parts),
          channels(of.channels), line(threadIdx.x / width), tile(blockIdx.x % tiles),
          row((long long)(blockIdx.x / tiles) * rows_of_block + line), stride((long long)parts * rows_of_block)
    {
    }

    __device__ __forceinline__ long long channel(long long of_tile) const
    {
        return of_tile * width + threadIdx.x % width;
    }

    __device__ __forceinline__ bool exists(long long of_tile) const
    {
        return line < rows_of_block && channel(of_tile) < channels;
    }
};

// A sum, and a sum of squares or of products.
struct Pair {
    double plain, weighted;

    __device__ __forceinline__ void add(const Pair &other)
    {
        plain += other.plain;
        weighted += other.weighted;
    }
};

// The sum over the threads of a block that have a channel, for the channels of its first line.
__device__ __forceinline__ Pair block_total(const Pair &mine, const Share &share)
{
    __shared__ Pair sums[THREADS];
    __syncthreads();
    sums[threadIdx.x] = mine;
    for (int step = 1; step < share.rows_of_block; step *= 2) {
        __syncthreads();
        if (share.line % (2 * step) == 0 && share.line + step < share.rows_of_block)
            sums[threadIdx.x].add(sums[threadIdx.x + step * share.width]);
    }
    return sums[threadIdx.x];
}

// Adds the sums of all threads for each channel; the last block calls use(c, sum). parts: (parts, channels).
template <typename Use>
__device__ __forceinline__ void total(
    const Pair &mine, const Share &share, double *parts, unsigned *arrived, Use use)
{
    Pair *const sums = reinterpret_cast<Pair *>(parts);
    const Pair of_block = block_total(mine, share);
    if (share.line == 0 && share.exists(share.tile))
        sums[blockIdx.x / share.tiles * share.channels + share.channel(share.tile)] = of_block;
    if (!is_last_block(arrived))
        return;
    for (int tile = 0; tile < share.tiles; ++tile) {
        Pair all = {};
        if (share.exists(tile))
#pragma unroll 4
            for (int part = share.line; part < share.parts; part += share.rows_of_block)
                all.add(sums[part * share.channels + share.channel(tile)]);
        all = block_total(all, share);
        if (share.line == 0 && share.exists(tile))
            use(share.channel(tile), all);
    }
}

extern "C" __global__ __launch_bounds__(THREADS) void batch_norm_statistics(
    const real *__restrict__ x,       // (rows, channels)
    real *__restrict__ mean,          // (channels), written
    real *__restrict__ var,           // (channels), written
    real *__restrict__ running_mean,  // (channels), updated; empty with moves = false
    real *__restrict__ running_var,   // (channels), the same, or empty
    double *__restrict__ parts,       // (parts, channels, 2), written and read back
    unsigned *__restrict__ arrived,   // (1,), blocks that have ended, 0 before and after
    Shape shape,                      // of x
    bool moves,                       // whether the running ones move
    real momentum)                    // the share of the batch in them
{
    const Share share(shape);
    const long long rows = shape.rows, channels = shape.channels;
    Pair mine = {};
    if (share.exists(share.tile)) {
        const long long c = share.channel(share.tile);
        const double first = x[c];
#pragma unroll 8
        for (long long r = share.row; r < rows; r += share.stride) {
            const double distance = x[r * channels + c] - first;
            mine.add({distance, distance * distance});
        }
    }
    total(mine, share, parts, arrived, [=](long long c, const Pair &all) {
        const double from_first = all.plain / rows, found = all.weighted / rows - from_first * from_first;
        mean[c] = x[c] + from_first;
        var[c] = found < 0 ? 0 : found;
        if (moves) {
            running_mean[c] += momentum * (mean[c] - running_mean[c]);
            running_var[c] += momentum * (var[c] - running_var[c]);
        }
    });
}

extern "C" __global__ __launch_bounds__(THREADS) void batch_norm(
    const real *__restrict__ x,       // (rows, channels)
    const real *__restrict__ var,     // (channels), variance
    const real *__restrict__ centre,  // (channels), what is subtracted
    const real *__restrict__ gain,    // (channels), factor; empty with trained = false
    const real *__restrict__ offset,  // (channels), added; empty with trained = false
    real *__restrict__ y,             // (rows, channels), written
    real *__restrict__ subtracted,    // (channels), centre, written
    real *__restrict__ divisor,       // (channels), written
    Shape shape,                      // of x
    bool trained,                     // whether there are gain and offset
    Scaling scaling)                  // how each channel is scaled
{
    const Share share(shape);
    const long long rows = shape.rows, channels = shape.channels;
    const long long c = share.channel(share.tile);
    if (!share.exists(share.tile))
        return;
    const Scale scale(scaling, var[c], centre[c], trained ? gain + c : nullptr, trained ? offset + c : nullptr);
    if (share.row == 0) {
        subtracted[c] = scale.centre;
        divisor[c] = scale.divisor;
    }
#pragma unroll 8
    for (long long r = share.row; r < rows; r += share.stride)
        y[r * channels + c] = scale(x[r * channels + c]);
}

extern "C" __global__ __launch_bounds__(THREADS) void batch_norm_adjoint_sums(
    const real *__restrict__ g,        // (rows, channels), gradient of y
    const real *__restrict__ x,        // (rows, channels)
    const real *__restrict__ centre,   // (channels), what was subtracted
    const real *__restrict__ divisor,  // (channels)
    real *__restrict__ of_gain,        // (channels), written
    real *__restrict__ of_offset,      // (channels), written
    double *__restrict__ parts,        // (parts, channels, 2), written and read back
    unsigned *__restrict__ arrived,    // (1,), blocks that have ended, 0 before and after
    Shape shape)                       // of x
{
    const Share share(shape);
    const long long rows = shape.rows, channels = shape.channels;
    Pair mine = {};
    if (share.exists(share.tile)) {
        const long long c = share.channel(share.tile);
        const real middle = centre[c];
#pragma unroll 8
        for (long long r = share.row; r < rows; r += share.stride) {
            const real grad = g[r * channels + c];
            mine.add({double(grad), double(grad) * double(x[r * channels + c] - middle)});
        }
    }
    total(mine, share, parts, arrived, [=](long long c, const Pair &all) {
        of_offset[c] = all.plain;
        of_gain[c] = all.weighted / divisor[c];
    });
}

extern "C" __global__ __launch_bounds__(THREADS) void batch_norm_adjoint(
    const real *__restrict__ g,          // (rows, channels), gradient of y
    const real *__restrict__ x,          // (rows, channels); not read without of_batch
    const real *__restrict__ mean,       // (channels), mean of x; not read without of_batch
    const real *__restrict__ divisor,    // (channels)
    const real *__restrict__ gain,       // (channels), factor; empty with trained = false
    const real *__restrict__ of_gain,    // (channels), sums; empty without of_batch
    const real *__restrict__ of_offset,  // (channels), sums; empty without of_batch
    const real *__restrict__ of_mean,    // (channels), gradient of the mean through a hook; empty with hooked = false
    real *__restrict__ of_x,             // (rows, channels), written
    Shape shape,                         // of x
    bool trained,                        // whether there is a gain
    bool of_batch,                       // whether mean and variance are of x
    bool hooked,                         // whether a hook made the centre of the mean
    Scaling scaling)                     // how each channel is scaled
{
    const Share share(shape);
    const long long rows = shape.rows, channels = shape.channels;
    const long long c = share.channel(share.tile);
    if (!share.exists(share.tile))
        return;
    const real by = divisor[c], factor = (trained ? gain[c] : scaling.kind ? scaling.height : real(1)) / by;
    real slope = 0, shift = 0, middle = 0;
    if (of_batch) {
        middle = mean[c];
        shift = (hooked ? of_mean[c] : -factor * of_offset[c]) / real(rows);
        slope = scaling.kind == STD ? -factor * of_gain[c] / by / real(rows) : real(0);
    }
#pragma unroll 8
    for (long long r = share.row; r < rows; r += share.stride) {
        const real direct = g[r * channels + c] * factor;
        of_x[r * channels + c] = of_batch ? direct + slope * (x[r * channels + c] - middle) + shift : direct;
    }
}

// Sum pooling, of packed spikes and of numbers, and the gradient of its input.
//
//   pool, pool_numbers   y[f, r, c, k] = gain sum_{i, j} x[f, r down + i gap_h - top, c across + j gap_w - left, k]
//   pool_adjoint         g_x[f, y, z, k] = gain sum_{i, j} g[f, r, c, k]
//                        over the outputs (r, c) with down r + gap_h i - top = y and across c + gap_w j - left = z
//
// over the rows i and columns j of the window; pixels outside of the image are 0.
//
// Layout: numbers are (frames, rows, columns, channels), C-contiguous; the bits of a line of packed spikes are (columns,
// channels) of one row of a frame.
// Of spikes a warp computes 32 neighbouring numbers of one row, a lane each, for AHEAD frames whose words are loaded
// together; the words of the lanes are neighbours in a line of x. Otherwise a thread computes one number, neighbouring
// threads neighbouring channels and columns, and adds by i, then j, from 0.
// Precision: a count is exact, all else is `real`; the bits are the CPU's.
// Twin: kernels/synapse/pool/cpu.py. Tests: tests/kernels/test_twins_conv_pool.py, test_twins_conv_adjoint.py.

#include "warp.cuh"
#include "images.cuh"
#include "window_count.cuh"

extern "C" __global__ void pool(
    const unsigned *__restrict__ x,  // (frames, height, words), spikes
    real *__restrict__ y,            // (frames, rows, columns, channels), written
    long long frames,                // frames
    Image image,                     // of x
    Map map,                         // of y
    Window window,                   // pooling window
    real gain)                       // weight of each spike
{
    const int width = map.columns * map.channels;
    const int line_warps = (width + LANES - 1) / LANES;
    const long long warp = (long long)blockIdx.x * blockDim.y + threadIdx.y;
    const long long first = warp / line_warps / map.rows * AHEAD;
    const int row = warp / line_warps % map.rows;
    const int place = int(warp % line_warps) * LANES + threadIdx.x;
    if (first >= frames || place >= width)
        return;
    const WindowCount count(row, place, image, window);
    int counts[AHEAD];
    count(counts, x, first, frames, (long long)image.height * image.words);
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
        if (first + i < frames)
            y[((first + i) * map.rows + row) * width + place] = real(counts[i]) * gain;
}

extern "C" __global__ void pool_numbers(
    const real *__restrict__ x,  // (frames, height, columns, channels)
    real *__restrict__ y,        // (frames, rows, columns, channels), written
    long long frames,            // frames
    Image image,                 // of x
    Map map,                     // of y
    Window window,               // pooling window
    real gain)                   // weight of each input
{
    GRID_STRIDE(n, frames * map.rows * map.columns * map.channels) {
        const long long pixel = n / map.channels, frame = pixel / map.columns / map.rows;
        const Span rows = rows_of(window, image, pixel / map.columns % map.rows);
        const Span columns = columns_of(window, image, pixel % map.columns);
        real total = 0;
        for (int i = rows.first; i < rows.past; ++i)
            for (int j = columns.first; j < columns.past; ++j) {
                const long long line = frame * image.height + rows.start + i * window.gap_h;
                const int column = columns.start + j * window.gap_w;
                total += x[(line * image.columns + column) * map.channels + n % map.channels];
            }
        y[n] = total * gain;
    }
}

extern "C" __global__ void pool_adjoint(
    const real *__restrict__ g,  // (frames, rows, columns, channels)
    real *__restrict__ x,        // (frames, height, columns, channels), written
    long long frames,            // frames
    Image image,                 // of x
    Map map,                     // of g
    Window window,               // pooling window
    real gain)                   // weight of each input
{
    GRID_STRIDE(n, frames * image.height * image.columns * image.channels) {
        const long long pixel = n / image.channels, frame = pixel / image.columns / image.height;
        const int y = pixel / image.columns % image.height, z = pixel % image.columns;
        real total = 0;
        for (int i = 0; i < window.kernel_h; ++i)
            for (int j = 0; j < window.kernel_w; ++j) {
                const int output = reached(window, map, y, z, i, j);
                if (output >= 0)
                    total += g[(frame * map.rows * map.columns + output) * image.channels + n % image.channels];
            }
        x[n] = total * gain;
    }
}

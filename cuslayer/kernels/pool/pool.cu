// Sum pooling of packed spikes.
//
//   pool   y[f, r, c, k] = gain times the number of spikes x[f, r down + i gap_h - top, c across + j gap_w - left, k]
//
// over the rows i and columns j of the window; pixels outside of the image are 0.
//
// Layout: the bits of a line of x are (columns, channels) of one row of a frame; y is (frames, rows, out_columns,
// channels), C-contiguous.
// A warp computes 32 neighbouring numbers of one row, a lane each, for AHEAD frames whose words are loaded together.
// The words of the lanes are neighbours in a line of x.
// Precision: a count is exact, its product with the gain is `real`: y equals the CPU's to the bit.
// Twin: kernels/pool/cpu.py. Tests: tests/kernels/test_twins_conv_pool.py.

#include "window_count.cuh"

extern "C" __global__ void pool(
    const unsigned *__restrict__ x,  // (frames, height, words), spikes, columns x channels bits a line
    real *__restrict__ y,            // (frames, rows, out_columns, channels), written
    long long frames,                // frames
    int height,                      // lines of a frame
    int columns,                     // columns of a frame
    int channels,                    // channels
    int words,                       // words of a line
    int rows,                        // rows of y
    int out_columns,                 // columns of y
    int kernel_h,                    // rows of the window
    int kernel_w,                    // columns of the window
    int down,                        // rows between windows
    int across,                      // columns between windows
    int top,                         // rows of padding
    int left,                        // columns of padding
    int gap_h,                       // rows between taps
    int gap_w,                       // columns between taps
    real gain)                       // weight of each spike
{
    const int width = out_columns * channels;
    const int line_warps = (width + LANES - 1) / LANES;
    const long long warp = (long long)blockIdx.x * blockDim.y + threadIdx.y;
    const long long first = warp / line_warps / rows * AHEAD;
    const int row = warp / line_warps % rows;
    const int place = int(warp % line_warps) * LANES + threadIdx.x;
    if (first >= frames || place >= width)
        return;
    const WindowCount count(
        row, place, height, columns, channels, words, kernel_h, kernel_w, down, across, top, left, gap_h, gap_w);
    int counts[AHEAD];
    count(counts, x, first, frames, (long long)height * words);
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
        if (first + i < frames)
            y[((first + i) * rows + row) * width + place] = real(counts[i]) * gain;
}

// Convolution of packed spikes: the weighted input alone.
//
//   conv   y[f, r, c, o] = sum over i, j, k of w[i, j, k, o] x[f, r down + i gap_h - top, c across + j gap_w - left, k]
//
// where k runs over the input channels of the group of o; pixels outside of the image are 0.
//
// Layout: the bits of a line of x are (columns, channels) of one row of a frame; y is (frames, rows, out_columns,
// outputs), C-contiguous.
// A warp computes 32 neighbouring numbers of one row of a map, a lane each, for RUN frames, AHEAD at a time: the words
// that their windows cover are read once, and every spike in them adds a weight to the lanes whose windows it is in
// (window.cuh). The totals are gathered in shared memory. A block is some of these warps and shares the weights in
// shared memory, if they fit.
// Precision: `real`; weights are added one by one in the CPU's order, so y equals the CPU's to the bit.
// Twin: kernels/synapse/conv/spikes.py. Tests: tests/kernels/test_twins_conv.py.

#include "warp.cuh"
#include "images.cuh"
#include "window.cuh"

// Frames of a warp: several rounds, so that words are loaded while others are used.
constexpr int RUN = 32;

extern "C" __global__ __launch_bounds__(512, 1) void conv(
    const unsigned *__restrict__ x,  // (frames, height, words), spikes, columns x channels bits a line
    const real *__restrict__ w,      // (kernel_h, kernel_w, channels / groups, outputs)
    real *__restrict__ y,            // (frames, rows, out_columns, outputs), written
    long long frames,                // frames
    Image image,                     // of x
    Map map,                         // of y
    Window window,                   // of the convolution
    int groups,                      // groups of channels
    bool in_shared)                  // whether the weights fit in shared memory
{
    if (in_shared)
        copy_weights(w, window.kernel_h * window.kernel_w * (image.channels / groups) * map.channels);
    const int width = (map.columns * map.channels + LANES - 1) / LANES;
    const long long warp = (long long)blockIdx.x * blockDim.y + threadIdx.y;
    const long long first = warp / width / map.rows * RUN;
    if (first >= frames)
        return;
    const Outputs lane = outputs_of_word(warp / width % map.rows, warp % width, map.columns, map.channels);
    const Taps taps(w, in_shared, image, window, lane, map.channels, groups);
    const View view(image, window, lane);
    const long long count = min(frames - first, (long long)RUN);
    const long long frame_words = (long long)image.height * image.words;
    const long long size = (long long)map.rows * map.columns * map.channels;
    const Frames run{x + first * frame_words, frame_words, count};
    Reader reader(view, run, 0);
    const int weights = in_shared ? window.kernel_h * window.kernel_w * (image.channels / groups) * map.channels : 0;
    real *const sums = shared_weights + weights + threadIdx.y * AHEAD * LANES + threadIdx.x;
    long long i = first * size + (lane.row * map.columns + lane.column) * map.channels + lane.channel;
    for (long long t = 0; t < count; t += AHEAD) {
        taps.weigh(reader, view, run, [&](int k) -> real & { return sums[k * LANES]; });
#pragma unroll
        for (int k = 0; k < AHEAD; ++k, i += size)
            if (lane.used && t + k < count)
                y[i] = sums[k * LANES];
    }
}

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
// Twin: kernels/conv/spikes.py. Tests: tests/kernels/test_twins_conv.py.

#include "window.cuh"

// Frames of a warp: several rounds, so that words are loaded while others are used.
constexpr int RUN = 32;

extern "C" __global__ __launch_bounds__(512, 1) void conv(
    const unsigned *__restrict__ x,  // (frames, height, words), spikes, columns x channels bits a line
    const real *__restrict__ w,      // (kernel_h, kernel_w, channels / groups, outputs)
    real *__restrict__ y,            // (frames, rows, out_columns, outputs), written
    long long frames,                // frames
    int height,                      // lines of a frame
    int columns,                     // columns of a frame
    int channels,                    // channels of a frame
    int words,                       // words of a line
    int rows,                        // rows of y
    int out_columns,                 // columns of y
    int outputs,                     // channels of y
    int groups,                      // groups of channels
    int kernel_h,                    // rows of the window
    int kernel_w,                    // columns of the window
    int down,                        // rows between windows
    int across,                      // columns between windows
    int top,                         // rows of padding
    int left,                        // columns of padding
    int gap_h,                       // rows between taps
    int gap_w,                       // columns between taps
    bool in_shared)                  // whether the weights fit in shared memory
{
    if (in_shared)
        copy_weights(w, kernel_h * kernel_w * (channels / groups) * outputs);
    const int width = (out_columns * outputs + LANES - 1) / LANES;
    const long long warp = (long long)blockIdx.x * blockDim.y + threadIdx.y;
    const long long first = warp / width / rows * RUN;
    if (first >= frames)
        return;
    const Image image{height, columns, channels, words};
    const Window window{kernel_h, kernel_w, down, across, top, left, gap_h, gap_w};
    const Outputs lane = outputs_of_word(warp / width % rows, warp % width, out_columns, outputs);
    const Taps taps(w, in_shared, image, window, lane, outputs, groups);
    const View view(image, window, lane, true);
    const long long count = min(frames - first, (long long)RUN);
    const long long frame_words = (long long)height * words;
    const long long size = (long long)rows * out_columns * outputs;
    const Frames run{x + first * frame_words, frame_words, count};
    Reader reader(view, run, 0);
    const int weights = in_shared ? kernel_h * kernel_w * (channels / groups) * outputs : 0;
    real *const sums = shared_weights + weights + threadIdx.y * AHEAD * LANES + threadIdx.x;
    long long i = first * size + (lane.row * out_columns + lane.column) * outputs + lane.channel;
    for (long long t = 0; t < count; t += AHEAD) {
        taps.weigh(reader, view, run, [&](int k) -> real & { return sums[k * LANES]; });
#pragma unroll
        for (int k = 0; k < AHEAD; ++k, i += size)
            if (lane.used && t + k < count)
                y[i] = sums[k * LANES];
    }
}

// A convolution of packed spikes whose synapses have one delay each: a spike adds each of its weights once.
//
//   synaptic_delay   y[t, n, r, c, o] = sum of w[i, j, k, o] over the channels k of the group of o and the taps i, j whose
//       pixel (r down + i gap_h - top, c across + j gap_w - left) spikes in frame (t - lag[i, j, k, o], n)
//
// Layout: spikes as in conv.cu; lag and w are (kernel_h, kernel_w, channels / groups, outputs).
//
// A block is a warp: 32 neighbouring numbers of a row of a map, a lane each, for `chunk` steps, whose sums are in shared
// memory. It goes from pixel to pixel of its windows. Each lane loads a word of a pixel's channels at a step; the words
// that are not empty are broadcast, from the last step to the first.
//
// Order: taps, of each tap the lags, ascending, of each lag the channels: the order of conv.cu for all lags side by side.
// Precision: `real`; weights are added one by one, so y equals the CPU's to the bit.
// Twin: kernels/time/synaptic_delay/cpu.py. Tests: tests/kernels/test_twins_conv.py.

#include "warp.cuh"
#include "images.cuh"
#include "window.cuh"

extern "C" __global__ __launch_bounds__(LANES) void synaptic_delay(
    const unsigned *__restrict__ x,  // (steps samples, height, words), spikes, columns x channels bits a line
    const int *__restrict__ lag,     // (kernel_h, kernel_w, channels / groups, outputs), from 0 to lags - 1
    const real *__restrict__ w,      // (kernel_h, kernel_w, channels / groups, outputs)
    real *__restrict__ y,            // (steps, samples, rows, out_columns, outputs), written
    long long steps,                 // time steps
    long long samples,               // samples of the batch
    long long lags,                  // the longest delay and 1
    long long chunk,                 // steps of a block
    Image image,                     // of x
    Map map,                         // of y
    Window window,                   // of the convolution
    int groups)                      // groups of channels
{
    const int width = (map.columns * map.channels + LANES - 1) / LANES;
    const long long tile = blockIdx.x / width, sample = tile / map.rows % samples;
    const long long begin = tile / map.rows / samples * chunk, end = min(begin + chunk, steps);
    const long long frames = end - max(begin - lags + 1, 0ll);  // whose spikes arrive at the steps of the block
    const Outputs lane = outputs_of_word(tile % map.rows, blockIdx.x % width, map.columns, map.channels);
    const int inputs = image.channels / groups, first_input = lane.channel / (map.channels / groups) * inputs;
    const int low = max(lane.low * window.across - window.left, 0);
    const int high = min(lane.high * window.across - window.left + (window.kernel_w - 1) * window.gap_w + 1, image.columns);
    real *const sums = shared_weights + threadIdx.x;
    for (long long t = 0; t < end - begin; ++t)
        sums[t * LANES] = 0;

    for (int i = 0; i < window.kernel_h; ++i) {
        const int row = lane.row * window.down + i * window.gap_h - window.top;
        for (int column = low; column < (row < 0 || row >= image.height ? low : high); ++column) {
            const int offset = column + window.left - lane.column * window.across, j = offset / window.gap_w;
            const bool reached = lane.used && offset >= 0 && j * window.gap_w == offset && j < window.kernel_w;
            if (!__any_sync(ALL_LANES, reached))
                continue;
            const long long tap = ((long long)(i * window.kernel_w + j) * inputs - first_input) * map.channels + lane.channel;
            const int bit = column * image.channels, words = (bit + image.channels - 1) / LANES - bit / LANES + 1;
            for (long long item = 0; item < frames * words; item += LANES) {
                const long long mine = item + threadIdx.x, frame = (end - 1 - mine / words) * samples + sample;
                const int word = bit / LANES + int(mine % words);
                const int before = max(bit - word * LANES, 0), past = max((word + 1) * LANES - bit - image.channels, 0);
                const unsigned found =
                    mine < frames * words ? x[(frame * image.height + row) * image.words + word] : 0;
                const unsigned bits = found & ALL_LANES << before & ALL_LANES >> past;
                for (unsigned present = __ballot_sync(ALL_LANES, bits != 0); present; present &= present - 1) {
                    const int source = __ffs(present) - 1;
                    const long long step = end - 1 - (item + source) / words - begin;
                    const int channel = (bit / LANES + int((item + source) % words)) * LANES - bit;
                    for (unsigned rest = __shfl_sync(ALL_LANES, bits, source); rest; rest &= rest - 1) {
                        const int k = channel + __ffs(rest) - 1;
                        if (!reached || unsigned(k - first_input) >= unsigned(inputs))
                            continue;
                        const long long at = tap + (long long)k * map.channels, t = step + lag[at];
                        if (t >= 0 && t < end - begin)
                            sums[t * LANES] += w[at];
                    }
                }
            }
        }
    }
    const long long size = (long long)map.rows * map.columns * map.channels;
    const long long place = (lane.row * map.columns + lane.column) * map.channels + lane.channel;
    if (lane.used)
        for (long long t = begin; t < end; ++t)
            y[(t * samples + sample) * size + place] = sums[(t - begin) * LANES];
}

// Sum pooling of packed spikes and its neurons in one pass over time.
//
//   pool_neuron   u, s: the potential and the spikes of the neurons for pool(x)
//
// with the pooling of kernels/pool/pool.cu, which is never written. Neurons are those of srm_neurons.cuh, or of a step.
//
// Layout: frames are ordered by step, then sample; the bits of a line of x are (columns, channels) of one row, those of
// s (out_columns, channels). Potentials are (steps, samples, rows, out_columns, channels), C-contiguous.
// A warp computes one word of a line of s for all steps, a lane one neuron; the words of x of AHEAD steps are loaded
// together. What leaves the response after `cut` steps is counted again.
// Precision: a count is exact, the rest is `real`: u and s equal the CPU's to the bit.
// Twins: kernels/pool/cpu.py, then kernels/srm/cpu.py. Tests: tests/kernels/test_twins_conv_pool.py.

#include "window_count.cuh"
#include "packed_neuron.cuh"
#include "srm_neurons.cuh"

extern "C" __global__ __launch_bounds__(512, 1) void pool_neuron(
    const unsigned *__restrict__ x,  // (steps, samples, height, words), spikes, columns x channels bits a line
    real *__restrict__ u,            // (steps, samples, rows, out_columns, channels), potential, written if keep is 1
    float16 *__restrict__ half,      // the same, written if keep is 2
    unsigned *__restrict__ s,        // (steps, samples, rows, out_words), spikes, written
    long long steps,                 // time steps
    long long samples,               // frames of a step
    int height,                      // lines of a frame of x
    int columns,                     // columns of x
    int channels,                    // channels
    int words,                       // words of a line of x
    int rows,                        // rows of s
    int out_columns,                 // columns of s
    int out_words,                   // words of a line of s
    int kernel_h,                    // rows of the window
    int kernel_w,                    // columns of the window
    int down,                        // rows between windows
    int across,                      // columns between windows
    int top,                         // rows of padding
    int left,                        // columns of padding
    int gap_h,                       // rows between taps
    int gap_w,                       // columns between taps
    int keep,                        // 0: no potentials are saved, 1: in u, 2: in half
    real pool_gain,                  // weight of each spike
    const real *__restrict__ numbers,    // constants of all neurons of a kind that is written as a step
    const real *__restrict__ constants,  // (constants, period), of each neuron of such a kind
    const __grid_constant__ Neurons neurons)  // constants of any other
{
    const int width = out_columns * channels;
    const unsigned warp = blockIdx.x * blockDim.y + threadIdx.y;
    const unsigned sample = warp / out_words / rows;
    if (sample >= samples)
        return;
    const int row = warp / out_words % rows;
    const int place = int(warp % out_words) * LANES + threadIdx.x;
    const bool used = place < width;
    const WindowCount count(
        row, place, height, columns, channels, words, kernel_h, kernel_w, down, across, top, left, gap_h, gap_w);
    const long long frame_words = (long long)height * words;
    const long long word_stride = samples * rows * out_words;
    const unsigned *frames = x + sample * frame_words;
    long long at = ((long long)sample * rows + row) * width + place;
    PackedNeuron neuron(neurons, numbers, constants, at);
    for (long long t = 0; t < steps; t += AHEAD) {
        if (ref_reach_of(neurons) > REGISTER_STEPS) {
            const long long old = t - ref_reach_of(neurons) + threadIdx.x;
            __syncwarp();  // other lanes wrote the words
            neuron.recall(threadIdx.x < AHEAD && old >= 0 ? s[old * word_stride + warp] : 0);
        }
        int entering[AHEAD], leaving[AHEAD] = {};
        count(entering, frames, t, steps, samples * frame_words);
        if (REMEMBERS)
            count(leaving, frames, t - reach_of(neurons), steps, samples * frame_words);
#pragma unroll
        for (int i = 0; i < AHEAD; ++i, at += samples * rows * width) {
            const real potential =
                neuron.step(neurons, t, i, real(entering[i]) * pool_gain, real(leaving[i]) * pool_gain, used);
            if (used && t + i < steps)
                save(potential, keep, u, half, at);
        }
        if (t + threadIdx.x < steps && threadIdx.x < AHEAD)
            s[(t + threadIdx.x) * word_stride + warp] = neuron.fired;
    }
}

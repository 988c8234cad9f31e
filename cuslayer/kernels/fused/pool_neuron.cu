// Sum pooling of packed spikes and its neurons in one pass over time.
//
//   pool_neuron   u, s: the potential and the spikes of the neurons for pool(x)
//
// with the pooling of kernels/synapse/pool/pool.cu, which is never written. Neurons are those of forward_neurons.cuh.
//
// Layout: frames are ordered by step, then sample; the bits of a line of x are (columns, channels) of one row, those of
// s (out_columns, channels). Potentials are (steps, samples, rows, out_columns, channels), C-contiguous.
// A warp computes one word of a line of s for all steps, a lane one neuron; the words of x of AHEAD steps are loaded
// together. What leaves the response after `cut` steps is counted again.
// Precision: a count is exact, the rest is `real`: u and s equal the CPU's to the bit.
// Twins: kernels/synapse/pool/cpu.py, then kernels/scan/cpu.py. Tests: tests/kernels/test_twins_conv_pool.py.

#include "warp.cuh"
#include "images.cuh"
#include "window_count.cuh"
#include "packed_neuron.cuh"
#include "kind.cuh"
#include "forward_neurons.cuh"

extern "C" __global__ __launch_bounds__(512, 1) void pool_neuron(
    const unsigned *__restrict__ x,           // (steps, samples, height, words), spikes, columns x channels bits a line
    real *__restrict__ u,                     // (steps, samples, rows, out_columns, channels), potential, written if keep is 1
    float16 *__restrict__ half,               // the same, written if keep is 2
    unsigned *__restrict__ s,                 // (steps, samples, rows, out_words), spikes, written
    long long steps,                          // time steps
    long long samples,                        // frames of a step
    const __grid_constant__ Image image,      // of x
    const __grid_constant__ Map map,          // of s
    const __grid_constant__ Window window,    // pooling window
    int keep,                                 // 0: no potentials are saved, 1: in u, 2: in half
    real pool_gain,                           // weight of each spike
    const real *__restrict__ constants,       // (constants, period), of each neuron
    const __grid_constant__ Numbers numbers)  // constants of all neurons
{
    const int width = map.columns * map.channels;
    const unsigned warp = blockIdx.x * blockDim.y + threadIdx.y;
    const unsigned sample = warp / map.words / map.rows;
    if (sample >= samples)
        return;
    const int row = warp / map.words % map.rows;
    const int place = int(warp % map.words) * LANES + threadIdx.x;
    const bool used = place < width;
    const WindowCount count(row, place, image, window);
    const long long frame_words = (long long)image.height * image.words;
    const long long word_stride = samples * map.rows * map.words;
    const unsigned *frames = x + sample * frame_words;
    long long at = ((long long)sample * map.rows + row) * width + place;
    PackedNeuron neuron(numbers, constants, at);
    for (long long t = 0; t < steps; t += AHEAD) {
        if (ref_reach_of(numbers) > REGISTER_STEPS) {
            const long long old = t - ref_reach_of(numbers) + threadIdx.x;
            __syncwarp();  // other lanes wrote the words
            neuron.recall(threadIdx.x < AHEAD && old >= 0 ? s[old * word_stride + warp] : 0);
        }
        int entering[AHEAD], leaving[AHEAD] = {};
        count(entering, frames, t, steps, samples * frame_words);
        if (REMEMBERS)
            count(leaving, frames, t - reach_of(numbers), steps, samples * frame_words);
#pragma unroll
        for (int i = 0; i < AHEAD; ++i, at += samples * map.rows * width) {
            const real potential =
                neuron.step(numbers, i, real(entering[i]) * pool_gain, real(leaving[i]) * pool_gain, used);
            if (used && t + i < steps)
                save(potential, keep, u, half, at);
        }
        if (t + threadIdx.x < steps && threadIdx.x < AHEAD)
            s[(t + threadIdx.x) * word_stride + warp] = neuron.fired;
    }
}

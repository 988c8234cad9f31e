// A convolution of packed spikes and its neurons in one pass over time.
//
//   conv_neuron   u, s: the potential and the spikes of the neurons for conv(x) + shift
//
// with the convolution of synapse/conv/conv.cu, which is never written. Neurons are those of forward_neurons.cuh.
//
// Layout: frames are ordered by step, then sample; the bits of a line of x are (columns, channels) of one row, those of
// s (out_columns, outputs). Potentials are (steps, samples, rows, out_columns, outputs), C-contiguous.
// A warp computes one word of a line of s for all steps, a lane one neuron: bit b of word n is the output at place
// 32 n + b of the line. Neighbouring lanes are neighbouring channels, so that their potentials are one access of 128
// bytes, and their spikes are one ballot. It goes through time in batches of AHEAD steps:
//
//       1. the spikes of x that its windows cover are visited, and the weighted inputs of AHEAD steps are written to
//          shared memory (window.cuh); words are loaded ROUNDS rounds before they are visited
//       2. the neurons compute the steps of the batch
//
//       lane           0   1   2  ...  31          row (t modulo rows): a number for each lane
//       row 0          a   a   a       a
//       ...                                        <- leaves the response: step t - cut
//       row rows - 1   a   a   a       a           <- enters: step t
//
// The input that leaves the response is read from these rows, a ring buffer, if they fit: in float with a cut of 77
// steps 88 rows, 11 KB a warp, so that a multiprocessor of an H100 has 20 warps, or fewer with large weights.
// Otherwise the spikes of step t - cut are visited again: their words are in the second-level cache still. A ring buffer
// in memory would move 8 bytes a neuron-step, twice the bytes of u. The weighted input never reaches memory.
// A block is some of these warps and shares the weights in shared memory, if they fit.
// Precision: `real`; u and s equal the CPU's to the bit.
// Twins: kernels/fused/cpu.py. Tests: tests/kernels/test_twins_conv.py.

#include "warp.cuh"
#include "images.cuh"
#include "window.cuh"
#include "packed_neuron.cuh"
#include "kind.cuh"
#include "forward_neurons.cuh"

extern "C" __global__ __launch_bounds__(512, 1) void conv_neuron(
    const unsigned *__restrict__ x,           // (steps, samples, height, words), spikes, columns x channels bits a line
    const real *__restrict__ w,               // (kernel_h, kernel_w, channels / groups, outputs)
    const real *__restrict__ shift,           // (outputs), added to the weighted input; empty without `shifts`
    real *__restrict__ u,                     // (steps, samples, rows, out_columns, outputs), potential, written if keep is 1
    float16 *__restrict__ half,               // the same, written if keep is 2
    unsigned *__restrict__ s,                 // (steps, samples, rows, out_words), spikes, written
    long long steps,                          // time steps
    long long samples,                        // frames of a step
    const __grid_constant__ Image image,      // of x
    const __grid_constant__ Map map,          // of s
    const __grid_constant__ Window window,    // of the convolution
    int groups,                               // groups of channels
    bool in_shared,                           // whether the weights fit in shared memory
    bool input_ring,                          // whether the rows of inputs are a ring buffer
    int input_rows,                           // rows of inputs of a warp: at least cut + AHEAD, or 2 AHEAD without a ring buffer
    bool shifts,                              // whether there is a bias
    int keep,                                 // 0: no potentials are saved, 1: in u, 2: in half
    const real *__restrict__ constants,       // (constants, period), of each neuron
    const __grid_constant__ Numbers numbers)  // constants of all neurons
{
    if (in_shared)
        copy_weights(w, window.kernel_h * window.kernel_w * (image.channels / groups) * map.channels);
    const unsigned warp = blockIdx.x * blockDim.y + threadIdx.y;
    const unsigned sample = warp / map.words / map.rows;
    if (sample >= samples)
        return;
    const Outputs lane = outputs_of_word(warp / map.words % map.rows, warp % map.words, map.columns, map.channels);
    const Taps taps(w, in_shared, image, window, lane, map.channels, groups);
    const View view(image, window, lane);
    const long long frame_words = (long long)image.height * image.words;
    const long long word_stride = samples * map.rows * map.words;
    const Frames frames{x + sample * frame_words, samples * frame_words, steps};
    const int weights = in_shared ? window.kernel_h * window.kernel_w * (image.channels / groups) * map.channels : 0;
    Inputs inputs(shared_weights + weights + threadIdx.y * input_rows * LANES, input_rows, input_ring, reach_of(numbers));
    Reader now(view, frames, 0);
    const long long size = (long long)map.rows * map.columns * map.channels;
    long long i = sample * size + (lane.row * map.columns + lane.column) * map.channels + lane.channel;
    PackedNeuron neuron(numbers, constants, i);
    const real added = shifts && lane.used ? shift[lane.channel] : real(0);
    for (long long t = 0; t < steps; t += AHEAD) {
        if (ref_reach_of(numbers) > REGISTER_STEPS) {
            const long long old = t - ref_reach_of(numbers) + threadIdx.x;
            __syncwarp();  // other lanes wrote the words
            neuron.recall(threadIdx.x < AHEAD && old >= 0 ? s[old * word_stride + warp] : 0);
        }
        const int count = min(steps - t, (long long)AHEAD);
        taps.weigh(now, view, frames, [&](int k) -> real & { return inputs.enters(k); });
        for (int k = 0; shifts && k < AHEAD; ++k)
            inputs.enters(k) += added;
        if (!input_ring && t + AHEAD > reach_of(numbers)) {
            Reader before(view, frames, t - reach_of(numbers));
            taps.weigh(before, view, frames, [&](int k) -> real & { return inputs.leaves(k); });
            // Nothing leaves before the first step has left.
            for (int k = 0; shifts && k < AHEAD; ++k)
                if (t + k >= reach_of(numbers))
                    inputs.leaves(k) += added;
        }
#pragma unroll
        for (int k = 0; k < AHEAD; ++k, i += samples * size) {
            const real potential = neuron.step(numbers, k, inputs.enters(k), inputs.leaves(k), lane.used);
            if (lane.used && k < count)
                save(potential, keep, u, half, i);
        }
        if (threadIdx.x < count)
            s[(t + threadIdx.x) * word_stride + warp] = neuron.fired;
        if (input_ring)
            inputs.turn();
    }
}

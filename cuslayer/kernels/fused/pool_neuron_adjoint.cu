// The gradient of the input of a pooling layer and its neurons, in one sweep back over time.
//
//   pool_neuron_adjoint   x: pool_adjoint of the gradient by the neurons' input, of the gradient g of their spikes and u
//
// for pooling windows that tile the image, so that each pixel is in one window; the last ones of a row or column may be
// cut off.
//
// Layout: g and u are (steps, samples, tile_rows, tile_columns, channels), x is (steps, samples, height, columns,
// channels), C-contiguous; u is `real` or, as `half`, float16: the other of the two arrays is empty.
// A thread computes one pooled neuron, from the last step to the first, and writes gain times its error to its tile.
// Neighbouring threads have neighbouring channels. The states stay in registers; g and u are read a batch of AHEAD
// steps ahead. What earlier steps use again is computed again from them, or stored and read.
// Precision: `real`.
// Twins: kernels/scan/cpu.py, then kernels/synapse/pool/cpu.py. Tests: tests/kernels/test_twins_conv_adjoint.py.

#include "warp.cuh"
#include "images.cuh"
#include "neuron_adjoint.cuh"
#include "kind.cuh"
#include "backward_neurons.cuh"

extern "C" __global__ void pool_neuron_adjoint(
    const real *__restrict__ g,                   // (steps, samples, tile_rows, tile_columns, channels)
    const real *__restrict__ u,                   // the same, potential, or empty
    const float16 *__restrict__ half,             // the potential as float16, or empty
    real *__restrict__ again,                     // like g, used by earlier steps, written and read back; or empty
    real *__restrict__ x,                         // (steps, samples, height, columns, channels), written
    long long steps,                              // time steps
    long long samples,                            // samples of a batch
    const __grid_constant__ Image image,          // of x
    int tile_h,                                   // rows of a window
    int tile_w,                                   // columns of a window
    real pool_gain,                               // weight of each input
    bool stored_half,                             // whether `half` is the potential
    bool exact,                                   // whether all paths through a spike are included
    const real *__restrict__ constants,           // (constants, period), of each neuron
    const __grid_constant__ Numbers numbers,      // constants of all neurons
    const __grid_constant__ Surrogate rho)        // the surrogate
{
    const int tile_rows = (image.height + tile_h - 1) / tile_h, tile_columns = (image.columns + tile_w - 1) / tile_w;
    const long long all_neurons = samples * tile_rows * tile_columns * image.channels;
    const long long step = samples * image.height * image.columns * image.channels;
    GRID_STRIDE(m, all_neurons) {
        const long long tile = m / image.channels;
        const int top = tile / tile_columns % tile_rows * tile_h, left = tile % tile_columns * tile_w;
        const long long row = tile / tile_columns / tile_rows * image.height + top;
        real *const first = x + (row * image.columns + left) * image.channels + m % image.channels;
        const int below = min(tile_h, image.height - top), beside = min(tile_w, image.columns - left);
        Gradient gradient{{g + m, steps, all_neurons}, nullptr, 0};
        NeuronAdjoint<bool> neuron{
            numbers,
            rho,
            constants,
            m,
            {stored_half ? nullptr : u + m, stored_half ? half + m : nullptr, steps, all_neurons},
            again + m,
            exact};
        const long long last = (steps - 1) / AHEAD * AHEAD;
        gradient.read(last, neuron.reach());
        neuron.read(last);
        for (long long frame = last; frame >= 0; frame -= AHEAD) {
            real errors[AHEAD];
            neuron.compute(frame, gradient, errors);
            if (frame > 0) {
                gradient.read(frame - AHEAD, neuron.reach());
                neuron.read(frame - AHEAD);
            }
            const int left_over = steps_left(true, frame, steps);
            for (int i = 0; i < below; ++i)
                for (int k = 0; k < beside; ++k)
#pragma unroll
                    for (int j = 0; j < AHEAD; ++j)
                        if (j < left_over)
                            first[(frame + j) * step + ((long long)i * image.columns + k) * image.channels] =
                                pool_gain * errors[j];
        }
    }
}

// Gradients of a convolution of spikes and its neurons in one sweep back over time.
//
//   errors: the gradient by the neurons' input, of the gradient g of their spikes and the potential u
//   g_w    = conv_weight_adjoint(x, errors) of synapse/conv/conv_adjoint.cu, in partial sums that add_parts adds
//
// Layout: g, u and errors are (steps, samples, rows, columns, outputs), C-contiguous; u is `real` or, as `half`,
// float16: the other of the two arrays is empty. Spikes are packed by rows. g may be a product, next_errors times
// next_weight transposed: the gradient of the input of a narrow dense layer, which is then never stored. Each batch of
// steps needs the weights of the block's neurons, a row of next_weight each. A block has a copy of its own (weights) in
// which those of neighbouring threads are neighbours.
//
//     block (part, channels): `places` pixels x `lanes` output channels; then those gridDim.x blocks further
//     warp: channels of one pixel, which have the same window, hence the same spikes
//     thread: one neuron                                       t = steps - 1 ... 0
//         g[t], u[t], read a batch ahead -> response -> error -> columns[bit][thread] += error, for each spike
//                                                        '-----> errors[t], if keep
//
// The states of a neuron stay in registers. TapSums in tap_sums.cuh says how the spikes of a window are found and
// added. What earlier steps use again is computed again from g and u, which mostly come from the L2 cache, or stored and
// read.
// Precision: `real`. The order of each sum depends on the shapes alone: no float is added atomically.
// Twin: kernels/fused/cpu.py. Tests: tests/kernels/test_twins_conv_adjoint.py.

#include "warp.cuh"
#include "images.cuh"
#include "neuron_adjoint.cuh"
#include "kind.cuh"
#include "backward_neurons.cuh"
#include "tap_sums.cuh"

extern __shared__ __align__(16) unsigned char shared[];

// The errors of a neuron after a convolution.
struct NeuronErrors {
    Gradient g;
    NeuronAdjoint<bool> neuron;
    real *errors;  // of this neuron; null if they are not stored

    __device__ __forceinline__ void read(long long frame)
    {
        g.read(frame, neuron.reach());
        neuron.read(frame);
    }

    __device__ __forceinline__ void prepare(long long) {}

    __device__ __forceinline__ void compute(long long frame, real (&sums)[AHEAD])
    {
        neuron.compute(frame, g, sums);
        write_errors(errors, frame, sums, neuron.u.steps, neuron.u.columns);
    }
};

extern "C" __global__ void conv_neuron_adjoint(
    const unsigned *__restrict__ x,               // (steps samples, height, words), packed spikes
    const real *__restrict__ g,                   // (steps, samples, rows, columns, outputs), or empty for a product
    const real *__restrict__ next_errors,         // (steps, samples, inputs), errors after a dense layer, or empty
    const real *__restrict__ next_weight,         // (rows, columns, outputs, inputs), weight of the dense layer, or empty
    real *weights,                                // (gridDim.x, gridDim.y, inputs, blockDim.x), rows of next_weight,
                                                  // written and read back; or empty
    const real *__restrict__ u,                   // (steps, samples, rows, columns, outputs), potential, or empty
    const float16 *__restrict__ half,             // the potential as float16, or empty
    real *__restrict__ again,                     // like g, used by earlier steps, written and read back; or empty
    real *__restrict__ errors,                    // like g, gradient of the weighted input if keep, written
    real *__restrict__ parts,                     // (gridDim.x, kh, kw, channels / groups, outputs), written
    long long steps,                              // time steps
    long long samples,                            // samples of a batch
    const __grid_constant__ Image image,          // of x
    const __grid_constant__ Map map,              // of the errors
    const __grid_constant__ Window window,        // of the convolution
    int inputs,                                   // inputs of the product; 0 without one
    bool stored_half,                             // whether `half` is the potential
    bool exact,                                   // whether all paths through a spike are included
    bool keep,                                    // whether errors are written
    bool with_weight,                             // whether sums are written
    int groups,                                   // groups of channels
    int lanes,                                    // output channels of a block: of a group, or all of several groups
    const real *__restrict__ constants,           // (constants, period), of each neuron
    const __grid_constant__ Numbers numbers,      // constants of all neurons
    const __grid_constant__ Surrogate rho)        // the surrogate
{
    const PackedWindow packed(x, image, window, groups);
    const Lanes mine(map.channels, groups, lanes, blockIdx.y);
    const int places = blockDim.x / lanes, lane = threadIdx.x % lanes;
    const Tiles pixels{map.rows, map.columns, 1, 1, map.rows, map.columns, samples};
    TapSums sums{packed, pixels, places, lanes, mine, image.channels / groups};
    sums.begin(reinterpret_cast<real *>(shared), 0, with_weight ? packed.pieces() : 0, samples);

    const long long all_neurons = samples * map.rows * map.columns * map.channels;
    for (sums.tile = (long long)blockIdx.x * places; sums.tile < samples * map.rows * map.columns;
         sums.tile += (long long)gridDim.x * places) {
        const Place place = sums.place(threadIdx.x / lanes);
        const bool active = place.inside && lane < mine.used;
        const long long feature = ((long long)place.y * map.columns + place.x) * map.channels + mine.first + lane;
        const long long m = place.sample * ((long long)map.rows * map.columns * map.channels) + feature;
        const real *const from = inputs ? next_errors + place.sample * inputs : g + m;
        const long long block = (long long)blockIdx.x * gridDim.y + blockIdx.y;
        real *const of_thread = weights + block * inputs * blockDim.x + threadIdx.x;
#pragma unroll 1
        for (int i = 0; i < inputs; ++i)
            of_thread[i * blockDim.x] = active ? next_weight[feature * inputs + i] : 0;
        NeuronErrors of_neuron{
            {{active ? from : nullptr, steps, inputs ? samples * inputs : all_neurons},
             of_thread,
             inputs},
            {numbers,
             rho,
             constants,
             m,
             {active && !stored_half ? u + m : nullptr, active && stored_half ? half + m : nullptr, steps, all_neurons},
             active ? again + m : nullptr,
             exact},
            active && keep ? errors + m : nullptr};
        sums.sum(of_neuron, 0, steps);
    }
    sums.write(parts + (long long)blockIdx.x * sums.bits * map.channels, map.channels);
}

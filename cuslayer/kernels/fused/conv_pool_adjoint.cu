// Gradients of a convolution of spikes, its neurons, a pooling layer and its neurons, in one sweep back over time.
//
//   pooled: errors of the pooled neurons, the gradient by their input, of pooled_g and pooled_u
//   errors: of the neurons before, for gain times the pooled error of the tile, and u
//   g_w    = conv_weight_adjoint(x, errors), in partial sums that add_parts adds
//
// Both layers of neurons are of one kind; see backward_neurons.cuh. The pooling windows tile the map; the last ones of a
// row or column may be cut off.
//
// Layout: pooled_g and pooled_u are (steps, samples, tile_rows, tile_columns, outputs), u and errors
// (steps, samples, rows, columns, outputs), C-contiguous; potentials are `real` or, as `half`, float16: the other two
// arrays are empty. Spikes are packed by rows.
//
//     block (part, channels): some tiles x `lanes` output channels; then those gridDim.x blocks further
//     threads of one pixel of each tile: pooled_g, pooled_u -> response -> pooled error -> ring[t][tile][lane]
//     all threads, a neuron each, a batch of AHEAD steps later:
//         gain ring[t], u[t] -> response -> error -> columns[bit][thread] += error, for each spike of the window
//                                             '----> errors[t], if keep
//
// The ring in shared memory holds the pooled errors of two batches and of the steps until they are used again; a barrier a
// batch suffices. Pixel blockIdx.x modulo the pixels of a tile has the pooled neurons, so that the blocks of a
// multiprocessor give that work to different warps. TapSums in tap_sums.cuh says how spikes are added.
// What earlier steps use again is computed again from g and u, which mostly come from the L2 cache.
// Precision: `real`. The order of each sum depends on the shapes alone: no float is added atomically.
// Twin: kernels/fused/cpu.py. Tests: tests/kernels/test_twins_conv_adjoint.py.

#include "warp.cuh"
#include "images.cuh"
#include "neuron_adjoint.cuh"
#include "kind.cuh"
#include "backward_neurons.cuh"
#include "tap_sums.cuh"

extern __shared__ __align__(16) unsigned char shared[];

// The gradient of one neuron's spikes: gain times the error of its tile, from the ring.
struct RingGradient {
    const real *ring;  // of the pooled neuron; null for a thread without a neuron
    int rows, width;   // of the ring
    real gain;         // of the pooling layer
    long long steps, cut;

    __device__ __forceinline__ real at(long long frame, int j) const
    {
        return ring ? gain * ring[row(frame, j) * width] : 0;
    }

    __device__ __forceinline__ real later(long long frame, int j) const
    {
        return ring && frame + j + cut < steps ? gain * ring[row(frame, j + cut) * width] : 0;
    }

    __device__ __forceinline__ int row(long long frame, int after) const
    {
        const int found = int(frame) % rows + after;
        return found < rows ? found : found - rows;
    }
};

// The errors of a neuron, and for some threads of a pooled neuron.
struct PooledErrors {
    Gradient pooled_g;
    NeuronAdjoint<Never> pooled;
    real *ring;  // of the pooled neuron; null for threads that have none
    RingGradient g;
    NeuronAdjoint<Never> neuron;
    real *errors;  // of this neuron; null if they are not stored

    __device__ __forceinline__ void read(long long frame) { neuron.read(frame); }

    __device__ __forceinline__ void prepare(long long frame)
    {
        if (!ring)
            return;
        real sums[AHEAD];
        pooled_g.read(frame, pooled.reach());
        pooled.read(frame);
        pooled.compute(frame, pooled_g, sums);
#pragma unroll
        for (int j = 0; j < AHEAD; ++j)
            ring[(int(frame) % g.rows + j) * g.width] = sums[j];
    }

    __device__ __forceinline__ void compute(long long frame, real (&sums)[AHEAD])
    {
        neuron.compute(frame, g, sums);
        write_errors(errors, frame, sums, neuron.u.steps, neuron.u.columns);
    }
};

extern "C" __global__ void conv_pool_adjoint(
    const unsigned *__restrict__ x,               // (steps samples, height, words), packed spikes
    const real *__restrict__ pooled_g,            // (steps, samples, tile_rows, tile_columns, outputs)
    const real *__restrict__ u,                   // (steps, samples, rows, columns, outputs), potential, or empty
    const float16 *__restrict__ half,             // the potential as float16, or empty
    const real *__restrict__ pooled_u,            // like pooled_g, potential after pooling, or empty
    const float16 *__restrict__ pooled_half,      // this potential as float16, or empty
    real *__restrict__ errors,                    // like u, gradient of the weighted input if keep, written
    real *__restrict__ parts,                     // (gridDim.x, kh, kw, channels / groups, outputs), written
    long long steps,                              // time steps
    long long samples,                            // samples of a batch
    const __grid_constant__ Image image,          // of x
    const __grid_constant__ Map map,              // of the errors
    const __grid_constant__ Window window,        // of the convolution
    int tile_h,                                   // rows of a pooling window
    int tile_w,                                   // columns of a pooling window
    real pool_gain,                               // weight of the pooling layer
    int ring_rows,                                // steps of the ring buffer, a multiple of AHEAD
    bool stored_half,                             // whether `half` and `pooled_half` are the potentials
    bool keep,                                    // whether errors are written
    int groups,                                   // groups of channels
    int lanes,                                    // output channels of a block: of a group, or all of several groups
    const real *__restrict__ constants,           // (constants, period), of each neuron
    const real *__restrict__ pooled_constants,    // the same of the pooled neurons
    const __grid_constant__ Numbers numbers,      // constants of all neurons
    const __grid_constant__ Surrogate rho,        // their surrogate
    const __grid_constant__ Numbers pooled_numbers,  // constants of all pooled neurons
    const __grid_constant__ Surrogate pooled_rho)    // their surrogate
{
    const PackedWindow packed(x, image, window, groups);
    const Lanes mine(map.channels, groups, lanes, blockIdx.y);
    const int tile_rows = (map.rows + tile_h - 1) / tile_h, tile_columns = (map.columns + tile_w - 1) / tile_w;
    const Tiles tiles{map.rows, map.columns, tile_h, tile_w, tile_rows, tile_columns, samples};
    TapSums sums{packed, tiles, int(blockDim.x) / lanes, lanes, mine, image.channels / groups};
    real *const ring = reinterpret_cast<real *>(shared);
    const int step = sums.tiles_of_block(), width = step * lanes;
    const int lane = threadIdx.x % lanes, column = threadIdx.x % width;
    sums.begin(ring + ring_rows * width, 0, packed.pieces(), samples);

    const long long count = samples * tiles.tile_rows * tiles.tile_columns, pooled_neurons = count * map.channels;
    const long long map_neurons = samples * map.rows * map.columns * map.channels;
    for (sums.tile = (long long)blockIdx.x * step; sums.tile < count; sums.tile += (long long)gridDim.x * step) {
        const Place place = sums.place(threadIdx.x / lanes);
        const bool active = place.inside && lane < mine.used;
        const long long m =
            ((place.sample * map.rows + place.y) * map.columns + place.x) * map.channels + mine.first + lane;
        const long long tile = sums.tile + column / lanes, pooled_m = tile * map.channels + mine.first + lane;
        const bool pools = threadIdx.x / width == blockIdx.x % (tile_h * tile_w) && lane < mine.used && tile < count;
        PooledErrors of_neuron{
            {{pools ? pooled_g + pooled_m : nullptr, steps, pooled_neurons}, nullptr, 0},
            {pooled_numbers,
             pooled_rho,
             pooled_constants,
             pooled_m,
             {pools && !stored_half ? pooled_u + pooled_m : nullptr,
              pools && stored_half ? pooled_half + pooled_m : nullptr, steps, pooled_neurons},
             nullptr,
             {}},
            pools ? ring + column : nullptr,
            {active ? ring + column : nullptr, ring_rows, width, pool_gain, steps, again_of<false>(numbers)},
            {numbers,
             rho,
             constants,
             m,
             {active && !stored_half ? u + m : nullptr, active && stored_half ? half + m : nullptr, steps, map_neurons},
             nullptr,
             {}},
            active && keep ? errors + m : nullptr};
        sums.sum(of_neuron, 0, steps);
    }
    sums.write(parts + (long long)blockIdx.x * sums.bits * map.channels, map.channels);
}

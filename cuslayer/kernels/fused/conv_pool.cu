// A convolution of packed spikes, its neurons, sum pooling and its neurons in one pass over time.
//
//   conv_pool   u, fired: the potential and the spikes of the neurons for conv(x)
//               pooled_u, s: the same of x' = gain times the sum of `fired` over windows that tile the map
//
// Neurons are those of srm_neurons.cuh, or both are of the same step.
//
// Layout: as in conv_neuron.cu; s and the potentials of the pooled neurons have the shape of the pooled map.
// A word of a line of s needs the 32 pooled neurons of its bits, and each of them the tile_h tile_w neurons of its
// window. There is one warp for each position in the window, whose lane i has the neuron at this position of the window
// of pooled neuron i, and one more warp for the pooled neurons:
//
//       warp (0, 0)     row 2 r,      column 2 c      of the map   --ballot-->  word 0 \                    .
//       warp (0, 1)     row 2 r,      column 2 c + 1               --ballot-->  word 1  \  bit i of all four, added,
//       warp (1, 0)     row 2 r + 1,  column 2 c                   --ballot-->  word 2  /  is the input of lane i
//       warp (1, 1)     row 2 r + 1,  column 2 c + 1               --ballot-->  word 3 /
//       last warp       pooled neuron (r, c), AHEAD steps later
//
// So pooling needs no shuffles, and positions beyond the edge of the map have lanes that never fire. The words of the
// last steps are in a ring buffer. In each pass of the loop over time the first warps compute AHEAD steps, as those of
// conv_neuron.cu do, while the last one computes the AHEAD steps before; one barrier a pass separates them. The buffer
// holds as many steps as a spike stays in the pooled response, or in the refractory response if that is longer than 64
// steps. It is in shared memory, or, if it does not fit, in `ring`. The spikes of the map are stored nowhere else.
// threadIdx is (lane, position in the window, word of s within the block); a block computes blockDim.z words of s.
// Precision: `real`; all results equal the CPU's to the bit.
// Twins: kernels/fused/conv_pool.py. Tests: tests/kernels/test_twins_conv_pool.py.

#include "window.cuh"
#include "packed_neuron.cuh"
#include "srm_neurons.cuh"

// The spikes of the positions of a window at the last steps: word (t modulo steps) tile + position is that of step t.
struct Ring {
    unsigned *words;
    int steps;  // a multiple of AHEAD
    int tile;   // positions of a window
    int slot;   // the place of the first step of the current batch

    // The place of step t + i, t the first step of the current batch, for |i| < steps.
    __device__ __forceinline__ int place(int i) const
    {
        const int at = slot + i;
        return at < 0 ? at + steps : at < steps ? at : at - steps;
    }

    __device__ __forceinline__ unsigned &word(int i, int position) const
    {
        return words[place(i) * tile + position];
    }

    // How many neurons of the window of this lane fire at step t + i.
    __device__ __forceinline__ int count(int i) const
    {
        int sum = 0;
        for (int position = 0; position < tile; ++position)
            sum += word(i, position) >> threadIdx.x & 1;
        return sum;
    }
};

extern "C" __global__ __launch_bounds__(512, 1) void conv_pool(
    const unsigned *__restrict__ x,   // (steps, samples, height, words), spikes, columns x channels bits a line
    const real *__restrict__ w,       // (kernel_h, kernel_w, channels / groups, outputs)
    real *__restrict__ u,             // (steps, samples, rows, out_columns, outputs), potential, written if keep is 1
    float16 *__restrict__ half,       // the same, written if keep is 2
    real *__restrict__ pooled_u,      // (steps, samples, pooled_rows, pooled_columns, outputs), written if keep is 1
    float16 *__restrict__ pooled_half,  // the same, written if keep is 2
    unsigned *__restrict__ s,         // (steps, samples, pooled_rows, out_words), spikes of the pooled neurons, written
    unsigned *__restrict__ ring,      // (samples pooled_rows out_words, ring_steps, tile_h tile_w), or empty
    long long steps,                  // time steps
    long long samples,                // frames of a step
    int height,                       // lines of a frame of x
    int columns,                      // columns of x
    int channels,                     // channels of x
    int words,                        // words of a line of x
    int rows,                         // rows of the map
    int out_columns,                  // columns of the map
    int outputs,                      // channels of the map
    int groups,                       // groups of channels
    int kernel_h,                     // rows of the window of the convolution
    int kernel_w,                     // columns of it
    int down,                         // rows between windows
    int across,                       // columns between windows
    int top,                          // rows of padding
    int left,                         // columns of padding
    int gap_h,                        // rows between taps
    int gap_w,                        // columns between taps
    int tile_h,                       // rows of a pooling window
    int tile_w,                       // columns of a pooling window
    int pooled_rows,                  // rows of s
    int pooled_columns,               // columns of s
    int out_words,                    // words of a line of s
    int ring_steps,                   // steps in the ring buffer, a multiple of AHEAD
    bool in_shared,                   // whether the weights fit in shared memory
    bool input_ring,                  // whether the rows of inputs are a ring buffer
    int input_rows,                   // rows of inputs of a warp: >= cut + AHEAD, or 2 AHEAD without a ring buffer
    bool ring_in_shared,              // whether the ring buffers fit in shared memory
    int keep,                         // 0: no potentials are saved, 1: as real, 2: as float16
    real pool_gain,                   // weight of each input of a pooled neuron
    const real *__restrict__ numbers,           // constants of all neurons of a kind that is written as a step
    const real *__restrict__ constants,         // (constants, period), of each neuron of such a kind
    const real *__restrict__ pooled_numbers,    // the same of the pooled neurons
    const real *__restrict__ pooled_constants,  // the same of the pooled neurons
    const __grid_constant__ Neurons neurons,    // constants of any other
    const __grid_constant__ Neurons pooled)     // the same of the pooled neurons
{
    const int weights = kernel_h * kernel_w * (channels / groups) * outputs;
    if (in_shared)
        copy_weights(w, weights);
    const int tile = tile_h * tile_w;
    const int position = threadIdx.y;
    const bool pools = position == tile;
    const unsigned word = blockIdx.x * blockDim.z + threadIdx.z;
    const unsigned sample = word / out_words / pooled_rows;
    const bool inside = sample < samples;  // warps past the last word only wait at the barriers

    Outputs lane = outputs_of_word(word / out_words % pooled_rows, word % out_words, pooled_columns, outputs);
    bool convolves = false;
    if (!pools) {
        const int column = position % tile_w;
        lane.row = lane.row * tile_h + position / tile_w;
        lane.column = lane.column * tile_w + column;
        lane.low = lane.low * tile_w + column;
        lane.high = min(lane.high * tile_w + column, out_columns - 1);
        convolves = inside && lane.row < rows && lane.low < out_columns;
        lane.used = lane.used && lane.row < rows && lane.column < out_columns;
    }
    const Image image{height, columns, channels, words};
    const Window window{kernel_h, kernel_w, down, across, top, left, gap_h, gap_w};
    const Taps taps(w, in_shared, image, window, lane, outputs, groups);
    const View view(image, window, lane, convolves);
    const long long frame_words = (long long)height * words;
    const Frames frames{x + sample * frame_words, samples * frame_words, steps};
    Reader now(view, frames, 0);

    const int width = pools ? pooled_columns : out_columns;
    const long long frame = (long long)(pools ? pooled_rows : rows) * width * outputs;
    long long i = sample * frame + ((long long)lane.row * width + lane.column) * outputs + lane.channel;
    PackedNeuron neuron(
        pools ? pooled : neurons, pools ? pooled_numbers : numbers, pools ? pooled_constants : constants, i);

    // Shared memory: the weights, the rows of inputs of each warp but the pooling ones, the ring buffers of spikes.
    real *const first_rows = shared_weights + (in_shared ? weights : 0);
    const int of_inputs = input_rows * LANES;
    Inputs inputs(
        first_rows + (threadIdx.z * tile + position) * of_inputs, pools ? 0 : input_rows, input_ring, reach_of(neurons));
    unsigned *const behind_inputs = reinterpret_cast<unsigned *>(first_rows + blockDim.z * tile * of_inputs);
    unsigned *const rings = ring_in_shared ? behind_inputs : ring;
    const long long number = ring_in_shared ? threadIdx.z : word;  // of the ring buffer
    Ring recent{rings + number * ring_steps * tile, ring_steps, tile, 0};
    const long long word_stride = samples * pooled_rows * out_words;
    const long long delay = pools ? AHEAD : 0;
    for (long long pass = 0; pass < steps + AHEAD; pass += AHEAD) {
        const long long t = pass - delay;
        const int count = inside && 0 <= t && t < steps ? int(min(steps - t, (long long)AHEAD)) : 0;
        const long long old = t + threadIdx.x - (pools ? ref_reach_of(pooled) : ref_reach_of(neurons));
        const bool recalls = threadIdx.x < count && old >= 0;
        if (pools) {
            if (ref_reach_of(pooled) > REGISTER_STEPS)
                neuron.recall(recalls ? s[old * word_stride + word] : 0);
            for (int k = 0; k < count; ++k, i += frame * samples) {
                const real entering = real(recent.count(k - AHEAD)) * pool_gain;
                const bool leaves = t + k >= reach_of(pooled);
                const real leaving = leaves ? real(recent.count(k - AHEAD - int(reach_of(pooled)))) * pool_gain : real(0);
                const real potential = neuron.step(pooled, t, k, entering, leaving, lane.used);
                if (lane.used)
                    save(potential, keep, pooled_u, pooled_half, i);
            }
        } else if (count > 0) {
            if (ref_reach_of(neurons) > REGISTER_STEPS)
                neuron.recall(recalls ? recent.word(threadIdx.x - int(ref_reach_of(neurons)), position) : 0);
            taps.weigh(now, view, frames, [&](int k) -> real & { return inputs.enters(k); });
            if (!input_ring && t + AHEAD > reach_of(neurons)) {
                Reader before(view, frames, t - reach_of(neurons));
                taps.weigh(before, view, frames, [&](int k) -> real & { return inputs.leaves(k); });
            }
            for (int k = 0; k < count; ++k, i += frame * samples) {
                const real potential = neuron.step(neurons, t, k, inputs.enters(k), inputs.leaves(k), lane.used);
                if (lane.used)
                    save(potential, keep, u, half, i);
            }
            if (input_ring)
                inputs.turn();
        }
        if (threadIdx.x < count) {
            if (pools)
                s[(t + threadIdx.x) * word_stride + word] = neuron.fired;
            else
                recent.word(threadIdx.x, position) = neuron.fired;
        }
        __syncthreads();
        recent.slot = recent.place(AHEAD);
    }
}

// A dense layer of packed spikes and its neurons in one pass.
//
//   dense_neuron   x[t] = spikes[t] w + shift,  u, s: the potential and the spikes of the neurons for x
//
// with the sums of kernels/synapse/dense/dense.cu, which are never written. Neurons are those of forward_neurons.cuh.
//
// Layout: u and half are (steps, samples, outputs). Spikes are packed, in as in dense.cu, out as words of a flat layer:
// fired (steps, samples, out_words) and by_neuron (outputs, samples, time_words). C-contiguous.
//
// A weighted input needs no other step, a potential needs all earlier ones. So a block goes through time in chunks of
// 32 steps. Some of its warps gather the inputs of a chunk while the others add up the chunk before; a barrier follows:
//
//     pass c                                                      shared memory
//     4 adding warps: 32 outputs of a     add chunk c - 1         inputs  [2][walkers][32 steps][32 outputs]
//       sample, a lane each                                       past    [walkers][cut][32 outputs]
//     the other warps: a frame after      gather chunk c          lists   [gathering warps]
//       another, 1 or 4 outputs a lane
//
// The adding warps have 128 outputs of a sample, or, in a layer with up to 32 outputs, the outputs of up to 4
// samples. The ballot of a warp is a word of `fired`; after 32 steps each lane has a word of by_neuron. The input that
// leaves the response after `cut` steps stays in shared memory (past). Where it does not fit, the frame of `cut` steps
// ago is gathered again: its words and its weights are fewer bytes than weighted inputs, written and read.
//
// Cost, in instructions of a warp on sm_90 in float32: dense.cu says the cost of a frame; 32 neurons take 50 for a step.
//
// Precision: `real` throughout; u and s equal the CPU's to the bit.
// Twins: kernels/synapse/dense/cpu.py, then kernels/scan/cpu.py. Tests: tests/kernels/test_twins_dense_neuron.py.

#include "spike_list.cuh"
#include "kind.cuh"
#include "forward_neurons.cuh"

extern __shared__ __align__(16) unsigned char shared[];

// Steps of a chunk: the bits of a word.
constexpr int CHUNK = 32;
// Words of a lane that are loaded together: a frame of 4,096 inputs.
constexpr int DEPTH = 4;
// Groups of 32 outputs of a gathering warp, if there are more than 32 outputs.
constexpr int GROUPS = 4;
// Threads of a block of dense_neuron: as many as have enough registers.
constexpr int THREADS = sizeof(real) == 4 ? 512 : 384;

// What dense_neuron stores of the potentials.
constexpr int KEEP_REAL = 1, KEEP_HALF = 2;

// The frames of a chunk that a gathering warp sums. They are numbered by part, then sample, then step: part 0 is the
// chunk; part 1, if inputs are gathered again, is the same `cut` steps earlier.
struct Frames {
    const unsigned *words;
    unsigned frame_words;
    long long steps, samples, first_sample, cut;
    int together, count;  // samples of the block, frames of a chunk
    int number;           // of the next frame,
    int chunk = 0;        // and its chunk

    // The words of the next frame; null where there is none.
    __device__ __forceinline__ const unsigned *next() const
    {
        const int row = number / CHUNK, again = row >= together;
        const long long t = (long long)chunk * CHUNK + number % CHUNK - (again ? cut : 0);
        const long long n = first_sample + row - (again ? together : 0);
        return 0 <= t && t < steps && n < samples ? words + (t * samples + n) * frame_words : nullptr;
    }

    __device__ __forceinline__ void advance(int warps)
    {
        number += warps;
        if (number >= count) {
            number %= warps;
            ++chunk;
        }
    }
};

// Sums this warp's frames of a chunk, plus a bias unless it is null, for `groups` groups of outputs from `output` on, into `chunk`: (frames / 32,
// groups, 32 steps, 32 outputs). `next` has the words of the first of them, and then those of the first in the next
// chunk.
template <int groups>
__device__ __forceinline__ void gather(
    Frames &frames, Words<DEPTH> &next, real *chunk, const real *w, const real *shift, long long outputs,
    long long output, const Entries &entries, SpikeList<DEPTH> &spikes, int warps)
{
    const int this_chunk = frames.chunk;
    while (frames.chunk == this_chunk) {
        const Words<DEPTH> loaded = next;
        const unsigned *const frame = frames.next();
        real *const to = chunk + (frames.number / CHUNK * groups * CHUNK + frames.number % CHUNK) * LANES;
        frames.advance(warps);
        const unsigned *const after = frames.next();
        next = Words<DEPTH>(after, after ? frames.frame_words : 0, 0);
        real total[groups];
        sum_rows(
            total, loaded, frame, frame ? frames.frame_words : 0, entries, spikes, w, outputs, output);
#pragma unroll
        for (int k = 0; k < groups; ++k) {
            const long long column = output + k * LANES + threadIdx.x % LANES;
            const bool shifted = shift && frame && column < outputs;
            to[k * CHUNK * LANES + threadIdx.x % LANES] = shifted ? total[k] + shift[column] : total[k];
        }
    }
}

extern "C" __global__ __launch_bounds__(THREADS, 1) void dense_neuron(
    const unsigned *__restrict__ words,  // (steps, samples, lines, line_words), spikes
    const real *__restrict__ w,          // (inputs, outputs)
    const real *__restrict__ shift,      // (outputs), added to the weighted input; empty without `shifts`
    real *__restrict__ u,                // (steps, samples, outputs), potential, written; empty unless keep is KEEP_REAL
    float16 *__restrict__ half,          // (steps, samples, outputs), potential, written; empty unless keep is KEEP_HALF
    unsigned *__restrict__ fired,        // (steps, samples, out_words), spikes, written
    unsigned *by_neuron,                 // (outputs, samples, time_words), spikes, written and read back
    long long steps,                     // time steps
    long long samples,                   // samples of the batch
    long long outputs,                   // neurons of the layer
    long long lines,                     // of a frame of the input
    long long line_words,                // words of a line
    long long line,                      // inputs of a line
    int groups,                          // groups of 32 outputs of a block, 1 or GROUPS
    int together,                        // samples of a block
    bool again,                          // whether inputs that leave the response are gathered again
    bool shifts,                         // whether there is a bias
    int keep,                            // which potentials are stored
    const real *__restrict__ constants,  // (constants, period), of each neuron
    const __grid_constant__ Numbers numbers)               // constants of all neurons
{
    const int walkers = together * groups, gatherers = blockDim.x / LANES - walkers;
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const long long cut = reach_of(numbers);
    const int kept = again || cut >= steps ? 0 : cut, inputs = walkers * CHUNK * LANES;
    const long long tiles = (outputs + groups * LANES - 1) / (groups * LANES);
    const long long tile = blockIdx.x % tiles * groups, first_sample = blockIdx.x / tiles * together;

    SpikeList<DEPTH> *const lists = reinterpret_cast<SpikeList<DEPTH> *>(shared);
    real *const chunks = reinterpret_cast<real *>(lists + gatherers), *const past = chunks + (again ? 4 : 2) * inputs;
    const auto chunk = [&](int of) { return chunks + (of & 1) * (again ? 2 : 1) * inputs; };

    const Entries entries(line_words, line, 1);
    Frames frames{
        words, unsigned(lines * line_words), steps, samples, first_sample, cut, together,
        (again ? 2 : 1) * together * CHUNK, warp - walkers};
    Words<DEPTH> next(nullptr, 0, 0);
    if (warp >= walkers) {
        const unsigned *const frame = frames.next();
        next = Words<DEPTH>(frame, frame ? frames.frame_words : 0, 0);
    }

    // An adding warp: sample n, outputs from 32 `word` on.
    const long long n = first_sample + warp / groups, word = tile + warp % groups, output = word * LANES + lane;
    const long long out_words = (outputs + LANES - 1) / LANES, time_words = (steps + CHUNK - 1) / CHUNK;
    const bool exists = output < outputs, walks = warp < walkers && n < samples && word < out_words;
    Walker walker(
        numbers, constants, n * outputs + output, past + warp * kept * LANES + lane, kept, steps);
    if (walks)
        walker.begin();

    for (int c = 0; c <= time_words; ++c) {
        if (warp >= walkers && c < time_words && frames.chunk == c) {
            if (groups == 1)
                gather<1>(
                    frames, next, chunk(c), w, shifts ? shift : nullptr, outputs, tile * LANES, entries, lists[warp - walkers], gatherers);
            else
                gather<GROUPS>(
                    frames, next, chunk(c), w, shifts ? shift : nullptr, outputs, tile * LANES, entries, lists[warp - walkers], gatherers);
        }
        if (walks && c > 0) {
            const long long first = (c - 1ll) * CHUNK, pitch = samples * outputs;
            const int count = min((long long)CHUNK, steps - first);
            const real *const entered = chunk(c - 1) + warp * CHUNK * LANES + lane;
            const real *const left = again ? entered + inputs : nullptr;
            unsigned *const mine = by_neuron + (output * samples + n) * time_words;
            if (exists)
                walker.recall(mine, first, steps);
            long long at = (first * samples + n) * outputs + output;
            const bool to_u = exists && keep == KEEP_REAL, to_half = exists && keep == KEEP_HALF;
            unsigned ballots = 0, spikes = 0;
#pragma unroll 1
            for (int i = 0; i < CHUNK; i += AHEAD) {
                real entering[AHEAD], leaving[AHEAD];
                walker.read(entering, leaving, entered, left, i, count);
#pragma unroll
                for (int k = 0; k < AHEAD; ++k) {
                    bool fires;
                    const real value = walker.step(k, entering[k], leaving[k], fires);
                    spikes = spikes >> 1 | (fires ? 1u << (CHUNK - 1) : 0);
                    const unsigned ballot = __ballot_sync(ALL_LANES, fires && exists);
                    ballots = lane == i + k ? ballot : ballots;
                    if (to_u && i + k < count)
                        u[at] = value;
                    if (to_half && i + k < count)
                        half[at] = to_float16(value);
                    at += pitch;
                }
            }
            if (exists)
                mine[c - 1] = spikes & 0xFFFFFFFF >> (CHUNK - count);
            if (lane < count)
                fired[((first + lane) * samples + n) * out_words + word] = ballots;
        }
        __syncthreads();
    }
}

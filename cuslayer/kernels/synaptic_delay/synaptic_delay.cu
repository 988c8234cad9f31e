// A dense layer of packed spikes whose synapses have one delay each: a spike adds each of its weights once.
//
//   synaptic_delay   out[t, n, j] = sum of w[i, j] over the inputs i that spike in frame (t - lag[i, j], n)
//
// Layout: spikes as in dense.cu; lag and w are (inputs, outputs), out is (steps, samples, outputs).
//
// A block is a warp: 32 outputs of a sample, a lane each, for `chunk` steps, whose sums are in shared memory. It counts
// the spikes of the frames that arrive there, `first` to `end` - 1, then adds them, from the last frame to the first.
//
// Order: that of `dense` for the lags of each input side by side, lag 0 first, most of whose weights are 0. There, each
// four spikes that arrive at a step are added to each other first, or those of six neighbouring inputs if they are more
// than `limit`. So a lane looks at the next spikes: those that arrive at the same step and belong to the same four or
// six are added with the first, and are marked.
//
// Precision: `real` throughout; equals the CPU's to the bit.
// Twin: kernels/synaptic_delay/cpu.py. Tests: tests/kernels/test_twins_dense.py.

#include "spike_list.cuh"

extern __shared__ __align__(16) unsigned char shared[];

constexpr int AFTER = NEIGHBOURS - 1;  // spikes that a lane looks at behind one

// A spike at an output.
struct Arrival {
    int at = -1;          // step, -1 for none
    real weight = 0;
    int place = 0;        // among the spikes that arrive at a step, less the spikes of all frames up to that step
    long long input = 0;  // among the inputs of all lags, less those of the frames up to the step at which it arrives
};

// A spike and those behind it.
struct Arrivals {
    Arrival next[AFTER + 1];
    unsigned added = 0;  // bit k: spike k is in a sum already

    __device__ __forceinline__ void push(const Arrival &last)
    {
#pragma unroll
        for (int k = 0; k < AFTER; ++k)
            next[k] = next[k + 1];
        next[AFTER] = last;
        added >>= 1;
    }

    // The weight of spike k if it belongs to the sum of the first one, which it is in then.
    __device__ __forceinline__ real taken(int k, bool belongs)
    {
        const bool is_there = belongs && next[k].at == next[0].at;
        added |= is_there << k;
        return is_there ? next[k].weight : real(0);
    }

    // What the first spike adds in a four of which it is number `place`, with those behind it.
    __device__ __forceinline__ real of_four(int place)
    {
        const real b = taken(1, place < 3), c = taken(2, place < 2), d = taken(3, place < 1);
        return place % 2 == 0 ? (next[0].weight + b) + (c + d) : next[0].weight + (b + c);
    }

    // The same of six neighbouring inputs.
    __device__ __forceinline__ real of_six(long long inputs)
    {
        const long long from = next[0].at * inputs, group = (from + next[0].input) / NEIGHBOURS;
        real sum = next[0].weight;
#pragma unroll
        for (int k = 1; k <= AFTER; ++k)
            sum += taken(k, (from + next[k].input) / NEIGHBOURS == group);
        return sum;
    }
};

extern "C" __global__ __launch_bounds__(LANES) void synaptic_delay(
    const unsigned *__restrict__ words,  // (steps samples, lines, line_words), spikes
    const int *__restrict__ lag,         // (inputs, outputs), from 0 to lags - 1
    const real *__restrict__ w,          // (inputs, outputs)
    real *__restrict__ out,              // (steps, samples, outputs), written
    long long steps,                     // time steps
    long long samples,                   // samples of the batch
    long long inputs,                    // rows of the weight
    long long outputs,                   // neurons of the layer
    long long lags,                      // the longest delay and 1
    long long chunk,                     // steps of a block
    long long lines,                     // of a frame
    long long line_words,                // words of a line
    long long line,                      // inputs of a line
    unsigned limit)                      // spikes of all lags at a step above which it is busy
{
    __shared__ SpikeList<1> spikes;
    real *const sums = reinterpret_cast<real *>(shared);
    unsigned *const before = reinterpret_cast<unsigned *>(sums + chunk * LANES);
    const int lane = threadIdx.x;
    const long long tiles = (outputs + LANES - 1) / LANES, column = blockIdx.x % tiles * LANES + lane;
    const long long sample = blockIdx.x / tiles % samples, begin = blockIdx.x / (tiles * samples) * chunk;
    const long long end = min(begin + chunk, steps), first = max(begin - lags + 1, 0ll);
    const unsigned frame_words = lines * line_words;
    const Entries entries(line_words, line, 1);

    // before[k]: the spikes of the frames first to first + k - 1.
    for (long long s = first - 1 + lane; s < end; s += LANES) {
        before[s - first + 1] = 0;
        for (unsigned i = 0; s >= first && i < frame_words; ++i)
            before[s - first + 1] += __popc(words[(s * samples + sample) * frame_words + i]);
    }
    __syncwarp();
    if (lane == 0)
        for (long long k = 0; k < end - first; ++k)
            before[k + 1] += before[k];
    for (long long t = 0; t < chunk; ++t)
        sums[t * LANES + lane] = 0;
    __syncwarp();

    Arrivals arrivals;
    const auto add = [&](const Arrival &last) {
        arrivals.push(last);
        const Arrival &mine = arrivals.next[0];
        const long long t = mine.at;
        if (t < begin || t >= end || (arrivals.added & 1))
            return;
        const unsigned number = before[t - first + 1] - before[max(t + 1 - lags, first) - first];
        const unsigned place = before[t - first + 1] + mine.place;
        real sum = mine.weight;
        if (number > limit)
            sum = arrivals.of_six(inputs);
        else if (place < number / 4 * 4)
            sum = arrivals.of_four(int(place % 4));
        sums[(t - begin) * LANES + lane] += sum;
    };
    for (long long s = end - 1; s >= first; --s) {
        const unsigned *const frame = words + (s * samples + sample) * frame_words;
        int place = -int(before[s - first + 1]);
        spikes.for_each(
            Words<1>(frame, frame_words, 0), frame, frame_words, 0, LANES, entries,
            [&](const unsigned *list, int size) {
                for (int e = 0; e < size; ++e, ++place) {
                    const long long input = list[e], at = input * outputs + column;
                    if (column < outputs)
                        add({int(s) + lag[at], w[at], place, input - s * inputs});
                }
            });
    }
    for (int k = 0; k < AFTER; ++k)
        add(Arrival());
    if (column < outputs)
        for (long long t = begin; t < end; ++t)
            out[(t * samples + sample) * outputs + column] = sums[(t - begin) * LANES + lane];
}

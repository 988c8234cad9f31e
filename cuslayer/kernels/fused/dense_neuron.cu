// A dense layer of packed spikes and its neurons in one pass; the gradient of its weighted input in one pass.
//
//   dense_neuron           x[t] = spikes[t] w, u = neuron(x), s = (u >= theta): dense.cu and srm.cu in one kernel
//   dense_neuron_adjoint   errors = neuron_adjoint(g, u) or neuron_adjoint_exact(g, u) of srm.cu; g may be given as a
//                          product, g[t, j] = sum_k next_errors[t, k] next_weight[j, k], and is then never stored
//
// Layout: a column is a neuron of a sample, m = sample outputs + output; u, half, g, past and errors are (steps, columns).
// Spikes are packed, in as in dense.cu, out as words of a flat layer: fired (steps, samples, out_words) and by_neuron
// (outputs, samples, time_words). C-contiguous.
//
// A weighted input needs no other step, a potential needs all earlier ones. So a block goes through time in chunks of 32
// steps. Some of its warps compute what is parallel in time, for the next chunk; the others walk the last one, and a barrier
// for each chunk is between them:
//
//     dense_neuron                                      chunk c            chunk c + 1         shared memory
//       warp of a sample (up to 4), lanes: 32 outputs   walks c - 1        walks c             inputs  [2][samples][32][32]
//         response, refraction, threshold; u, ballots                                          past    [samples][cut][32]
//       the other warps, a frame each                   gathers c          gathers c + 1       lists   [warps][64]
//         list of its spikes, sum of rows of w                                                 weights [inputs][32]
//
//     dense_neuron_adjoint                              chunk c            chunk c - 1
//       first warp, lanes: 32 columns                   walks c + 1        walks c             terms   [2][1 or 2][32][32]
//         adjoint filters; errors                                                              past    [longest cut][32]
//       8 warps, 4 steps each                           terms of c         terms of c - 1      weight  [next][32]
//         product, surrogate
//
// A ballot of the 32 outputs is a word of `fired`; after 32 steps each lane has a word of `by_neuron`. What leaves a
// filter after `cut` steps stays in shared memory (past). Where it does not fit, dense_neuron gathers the frame of
// `cut` steps ago again, and dense_neuron_adjoint writes and reads past in memory.
// Weights that do not fit come from the L1 cache: most inputs spike seldom, and those of a block are 128 bytes each.
//
// Cost: dense.cu has that of a frame. A step of a walk is about 40 instructions of a warp; 32 outputs x 32 steps of 100
// inputs that spike at 1 % take three times as many in the gathering warps.
//
// Precision: `real` throughout; compiled without fused multiply-add, u and the spikes equal the CPU's to the bit. The
// adjoint differs from the CPU's by the rounding of exp, and by the order of the product.
// Twins: kernels/dense/cpu.py, then kernels/srm/cpu.py. Tests: tests/kernels/test_twins_dense_neuron.py.

#include "spike_list.cuh"

extern __shared__ __align__(16) unsigned char shared[];

// Steps of a chunk: the bits of a word.
constexpr int CHUNK = 32;
// Words of a lane that are loaded together: a frame of 4,096 inputs.
constexpr int DEPTH = 4;
// Groups of 32 outputs of a gathering warp, if there are more than 32 outputs.
constexpr int GROUPS = 4;
// Threads of a block of dense_neuron: as many as have enough registers.
constexpr int THREADS = sizeof(real) == 4 ? 512 : 384;
// Warps of a block of dense_neuron_adjoint that compute terms, and the steps of each in a chunk.
constexpr int TERM_WARPS = 8, TERMS = CHUNK / TERM_WARPS;

// What dense_neuron stores of the potentials.
constexpr int KEEP_REAL = 1, KEEP_HALF = 2;

// The frames of a chunk that a gathering warp sums. They are numbered by part, then sample, then step: part 0 is the chunk;
// part 1, if inputs are gathered again, is the same `cut` steps earlier.
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

// The neurons of 32 outputs of a sample, one a lane.
struct Walker {
    Recurrence response;
    Recurrence nu;
    real theta;
    real *past;       // the inputs within the response, a ring of `kept` rows
    int kept;         // 0: what leaves the response is gathered again, or nothing leaves it
    int slot;         // of past, read and written next
    unsigned queue;   // the spikes that leave the refractory response at the next steps, lowest bit first
    unsigned insert;  // where a new spike enters the queue; 0 if it leaves after more than 32 steps

    // Reads what enters the response at AHEAD steps of a chunk, and what leaves it, 0 behind the last step.
    __device__ __forceinline__ void read(
        real (&entering)[AHEAD], real (&leaving)[AHEAD], const real *entered, const real *left, int step, int count)
    {
#pragma unroll
        for (int k = 0; k < AHEAD; ++k) {
            entering[k] = step + k < count ? entered[(step + k) * LANES] : 0;
            leaving[k] = left && step + k < count ? left[(step + k) * LANES] : 0;
        }
        if (kept) {
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                leaving[k] = past[slot * LANES];
                past[slot * LANES] = entering[k];
                slot = slot + 1 == kept ? 0 : slot + 1;
            }
        }
    }

    // Step k of a batch of AHEAD steps: returns the potential.
    __device__ __forceinline__ real step(int k, real entering, real leaving, bool &fires)
    {
        const real old_spike = queue & 1;
        response.flush(k);
        nu.flush(k);
        const real value = response.output(leaving) + nu.output(old_spike);
        fires = value >= theta;
        response.accept(entering, leaving);
        nu.accept(fires, old_spike);
        queue = queue >> 1 | (fires ? insert : 0);
        return value;
    }
};

// The spikes of the 32 steps from `first` on, 0 before step 0, from the words of a neuron.
__device__ __forceinline__ unsigned spikes_from(const unsigned *words, long long first)
{
    const long long word = first >> 5;
    const unsigned low = word >= 0 ? words[word] : 0, high = word + 1 >= 0 ? words[word + 1] : 0;
    return ((unsigned long long)high << 32 | low) >> (first & 31);
}

// Sums the frames of a chunk, each for `groups` groups of outputs from `output` on, into `chunk`: (frames / 32, groups, 32
// steps, 32 outputs). `loaded` are the words of the warp's first frame, and then of the first of the next chunk.
template <int groups>
__device__ __forceinline__ void gather(
    Frames &frames, Words<DEPTH> &next, real *chunk, const real *w, long long outputs, long long output,
    const Entries &entries, SpikeList<DEPTH> &spikes, int warps)
{
    const int this_chunk = frames.chunk;
    while (frames.chunk == this_chunk) {
        const Words<DEPTH> loaded = next;
        const unsigned *const frame = frames.next();
        real *const to = chunk + (frames.number / CHUNK * groups * CHUNK + frames.number % CHUNK) * LANES;
        frames.advance(warps);
        const unsigned *const after = frames.next();
        next = Words<DEPTH>(after, after ? frames.frame_words : 0, 0);
        real total[groups] = {};
        spikes.for_each(
            loaded, frame, frame ? frames.frame_words : 0, 0, DEPTH * LANES, entries,
            [&](const unsigned *list, int size) { add_in_fours(total, list, size, w, outputs, output); });
#pragma unroll
        for (int k = 0; k < groups; ++k)
            to[k * CHUNK * LANES + threadIdx.x % LANES] = total[k];
    }
}

extern "C" __global__ __launch_bounds__(THREADS, 1) void dense_neuron(
    const unsigned *__restrict__ words,  // (steps, samples, lines, line_words), spikes
    const real *__restrict__ w,          // (inputs, outputs)
    real *__restrict__ u,                // (steps, samples, outputs), potential, written if keep is KEEP_REAL, else empty
    float16 *__restrict__ half,          // (steps, samples, outputs), potential, written if keep is KEEP_HALF, else empty
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
    int keep,                            // which potentials are stored
    real theta,                          // threshold
    real decay,                          // exp(-dt / tau_sr)
    real gain,                           // amplitude e dt / tau_sr
    long long cut,                       // steps until an input leaves the response; none if >= steps
    real cut_p,                          // decay^cut
    real cut_q,                          // cut decay^cut
    real ref_decay,                      // exp(-dt / tau_ref)
    real ref_gain,                       // amplitude e dt / tau_ref, negative
    long long ref_cut,                   // steps until a spike leaves the refractory response; none if >= steps
    real ref_cut_p,                      // ref_decay^ref_cut
    real ref_cut_q)                      // ref_cut ref_decay^ref_cut
{
    const int walkers = together * groups, gatherers = blockDim.x / LANES - walkers;
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const int kept = again || cut >= steps ? 0 : cut, numbers = walkers * CHUNK * LANES;
    const long long tiles = (outputs + groups * LANES - 1) / (groups * LANES);
    const long long tile = blockIdx.x % tiles * groups, first_sample = blockIdx.x / tiles * together;

    SpikeList<DEPTH> *const lists = reinterpret_cast<SpikeList<DEPTH> *>(shared);
    real *const chunks = reinterpret_cast<real *>(lists + gatherers), *const past = chunks + (again ? 4 : 2) * numbers;
    const auto chunk = [&](int of) { return chunks + (of & 1) * (again ? 2 : 1) * numbers; };

    const Entries entries(line_words, line, 1);
    Frames frames{
        words, unsigned(lines * line_words), steps, samples, first_sample, cut, together,
        (again ? 2 : 1) * together * CHUNK, warp - walkers};
    Words<DEPTH> next(nullptr, 0, 0);
    if (warp >= walkers) {
        const unsigned *const frame = frames.next();
        next = Words<DEPTH>(frame, frame ? frames.frame_words : 0, 0);
    }

    // A walking warp: sample n, outputs from 32 `word` on.
    const long long n = first_sample + warp / groups, word = tile + warp % groups, output = word * LANES + lane;
    const long long out_words = (outputs + LANES - 1) / LANES, time_words = (steps + CHUNK - 1) / CHUNK;
    const bool exists = output < outputs, walks = warp < walkers && n < samples && word < out_words;
    Walker walker{
        {decay, gain, cut_p, cut_q}, {ref_decay, ref_gain, ref_cut_p, ref_cut_q}, theta,
        past + warp * kept * LANES + lane, kept, 0, 0, ref_cut <= CHUNK && ref_cut < steps ? 1u << (ref_cut - 1) : 0};
    if (walks)
        for (int i = 0; i < kept; ++i)
            walker.past[i * LANES] = 0;

    for (int c = 0; c <= time_words; ++c) {
        if (warp >= walkers && c < time_words && frames.chunk == c) {
            if (groups == 1)
                gather<1>(frames, next, chunk(c), w, outputs, tile * LANES, entries, lists[warp - walkers], gatherers);
            else
                gather<GROUPS>(
                    frames, next, chunk(c), w, outputs, tile * LANES, entries, lists[warp - walkers], gatherers);
        }
        if (walks && c > 0) {
            const long long first = (c - 1ll) * CHUNK, pitch = samples * outputs;
            const int count = min((long long)CHUNK, steps - first);
            const real *const entered = chunk(c - 1) + warp * CHUNK * LANES + lane;
            const real *const left = again ? entered + numbers : nullptr;
            unsigned *const mine = by_neuron + (output * samples + n) * time_words;
            if (exists && ref_cut > CHUNK && ref_cut < steps)
                walker.queue = spikes_from(mine, first - ref_cut);
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

// The gradient of the potential of one column at the last steps: a ring of rows in shared memory, or the rows of an array.
// A thread reads only what it has written.
struct Past {
    real *mine;
    long long pitch;
    int length;   // rows
    int row = 0;  // of this step

    // The row of `steps` steps later.
    __device__ __forceinline__ int later(long long steps) const { return (row + steps) % length; }

    __device__ __forceinline__ void back(int &of) const { of = of ? of - 1 : length - 1; }

    __device__ __forceinline__ real at(int of) const { return mine[of * pitch]; }
};

// The filters of a column, and where its gradients of the potential leave them.
template <bool exact>
struct WalkerBack {
    Recurrence response;
    Recurrence nu;
    Past past;
    long long steps, cut, ref_cut;  // steps: 0 for a lane that has no column
    int leaves = past.later(cut);
    int ref_leaves = exact ? past.later(ref_cut) : 0;

    // Reads what leaves the filters at step t.
    __device__ __forceinline__ void read(real &leaving, real &ref_leaving, long long t)
    {
        leaving = t + cut < steps ? past.at(leaves) : 0;
        past.back(leaves);
        if (exact) {
            ref_leaving = t + ref_cut < steps ? past.at(ref_leaves) : 0;
            past.back(ref_leaves);
        }
    }

    // Goes through a chunk of 32 steps, from the last to the first, and writes its errors.
    __device__ __forceinline__ void walk(const real *terms, real *errors, long long begin, long long columns)
    {
        // What leaves can be read in advance unless it belongs to the current batch.
        const bool in_advance = cut >= AHEAD && (!exact || ref_cut >= AHEAD);
        for (int i = CHUNK - 1; i >= 0; i -= AHEAD) {
            real term[AHEAD], rho[AHEAD], leaving[AHEAD], ref_leaving[AHEAD];
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                term[k] = terms[(i - k) * LANES];
                rho[k] = exact ? terms[(CHUNK + i - k) * LANES] : 0;
                if (in_advance)
                    read(leaving[k], ref_leaving[k], begin + i - k);
            }
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                const long long t = begin + i - k;
                if (!in_advance)
                    read(leaving[k], ref_leaving[k], t);
                response.flush(AHEAD - 1 - k);
                if (exact)
                    nu.flush(AHEAD - 1 - k);
                const real value = exact ? flushed(rho[k] * (term[k] + nu.output(ref_leaving[k]))) : term[k];
                const real filtered = response.output(leaving[k]);
                response.accept(value, leaving[k]);
                if (exact)
                    nu.accept(value, ref_leaving[k]);
                if (t < steps) {
                    past.mine[past.row * past.pitch] = value;
                    errors[t * columns] = filtered;
                }
                past.back(past.row);
            }
        }
    }
};

// What needs no other step of a column: the gradient of its spikes, and the surrogate.
struct Terms {
    const real *g, *u, *weight;
    const float16 *half;
    long long steps, columns, outputs, next, m;
    bool from_half;
    real theta, steep, height;

    // Writes the terms of the steps `first`, first + 8, ... of a chunk: exact, the gradient and dt rho(u), 32 rows later;
    // else their product. 0 behind the last step.
    template <bool exact>
    __device__ __forceinline__ void write(real *terms, long long begin, int first) const
    {
        real grad[TERMS] = {}, potential[TERMS];
        long long row[TERMS];
#pragma unroll
        for (int i = 0; i < TERMS; ++i) {
            row[i] = min(begin + first + i * TERM_WARPS, steps - 1);
            potential[i] = from_half ? from_float16(half[row[i] * columns + m]) : u[row[i] * columns + m];
            if (!next)
                grad[i] = g[row[i] * columns + m];
            row[i] = (row[i] * (columns / outputs) + m / outputs) * next;
        }
        for (long long k = 0; k < next; ++k) {
            const real factor = weight[k * LANES];
#pragma unroll
            for (int i = 0; i < TERMS; ++i)
                grad[i] = fma(g[row[i] + k], factor, grad[i]);
        }
#pragma unroll
        for (int i = 0; i < TERMS; ++i) {
            const int step = first + i * TERM_WARPS;
            const real rho = begin + step < steps ? surrogate(potential[i], theta, steep, height) : 0;
            terms[step * LANES] = exact ? grad[i] : flushed(rho * grad[i]);
            if (exact)
                terms[(CHUNK + step) * LANES] = rho;
        }
    }
};

// Goes through all chunks, from the last to the first: the first warp walks a chunk while the others compute the terms of
// the chunk before it in time. `chunks`: this lane's part of two chunks of terms.
template <bool exact>
__device__ __forceinline__ void sweep_back(const Terms &terms, WalkerBack<exact> walker, real *chunks, real *errors)
{
    const int warp = threadIdx.x / LANES;
    const long long last = (terms.steps - 1) / CHUNK * CHUNK;
    for (long long begin = last; begin >= -CHUNK; begin -= CHUNK) {
        const auto chunk = [&](long long of) { return chunks + (of / CHUNK & 1) * (exact ? 2 : 1) * CHUNK * LANES; };
        if (warp > 0 && begin >= 0)
            terms.write<exact>(chunk(begin), begin, warp - 1);
        if (warp == 0 && begin < last)
            walker.walk(chunk(begin + CHUNK), errors, begin + CHUNK, terms.columns);
        __syncthreads();
    }
}

extern "C" __global__ void dense_neuron_adjoint(
    const real *__restrict__ g,            // (steps, columns), gradient of the spikes; if next > 0, next_errors
                                           // (steps, samples, next)
    const real *__restrict__ next_weight,  // (outputs, next), weight of the next layer
    const real *__restrict__ u,            // (steps, columns), potential; empty if half has it
    const float16 *__restrict__ half,      // (steps, columns), potential; empty if u has it
    real *past,                            // (steps, columns), written and read back; empty if length > 0
    real *__restrict__ errors,             // (steps, columns), gradient of the weighted input, written
    long long steps,                       // time steps
    long long columns,                     // samples x outputs
    long long outputs,                     // neurons of the layer
    long long next,                        // neurons of the next layer, or 0
    bool exact,                            // whether the gradient goes through the refractory response
    bool from_half,                        // whether the potentials are float16
    int length,                            // rows of shared memory for the gradient of the potential, or 0
    real theta,                            // threshold
    real steep,                            // 1 / (tau_rho theta)
    real height,                           // dt scale_rho / (tau_rho theta)
    real decay,                            // exp(-dt / tau_sr)
    real gain,                             // amplitude e dt / tau_sr
    long long cut,                         // steps until an input leaves the response; none if >= steps
    real cut_p,                            // decay^cut
    real cut_q,                            // cut decay^cut
    real ref_decay,                        // exp(-dt / tau_ref)
    real ref_gain,                         // amplitude e dt / tau_ref, negative
    long long ref_cut,                     // steps until a spike leaves the refractory response; none if >= steps
    real ref_cut_p,                        // ref_decay^ref_cut
    real ref_cut_q)                        // ref_cut ref_decay^ref_cut
{
    const int lane = threadIdx.x % LANES;
    const long long column = (long long)blockIdx.x * LANES + lane;
    // A lane behind the last column computes the terms of the last, and does not walk.
    const long long m = min(column, columns - 1);
    real *const chunks = reinterpret_cast<real *>(shared) + lane;
    real *const ring = chunks + (exact ? 4 : 2) * CHUNK * LANES, *const weight = ring + length * LANES;
    for (long long k = threadIdx.x / LANES; k < next; k += blockDim.x / LANES)
        weight[k * LANES] = next_weight[m % outputs * next + k];
    __syncthreads();

    const Terms terms{g, u, weight, half, steps, columns, outputs, next, m, from_half, theta, steep, height};
    const Recurrence response{decay, gain, cut_p, cut_q}, nu{ref_decay, ref_gain, ref_cut_p, ref_cut_q};
    Past kept = length ? Past{ring, LANES, length} : Past{past + m, columns, int(steps)};
    kept.row = ((steps - 1) / CHUNK * CHUNK + CHUNK - 1) % kept.length;
    const long long mine = column < columns ? steps : 0;
    if (exact)
        sweep_back<true>(terms, {response, nu, kept, mine, cut, ref_cut}, chunks, errors + m);
    else
        sweep_back<false>(terms, {response, nu, kept, mine, cut, ref_cut}, chunks, errors + m);
}

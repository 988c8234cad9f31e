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
// Threads of a block of dense_neuron: as many as have enough registers.
constexpr int THREADS = sizeof(real) == 4 ? 640 : 384;
// Warps of a block of dense_neuron_adjoint that compute terms, and the steps of each in a chunk.
constexpr int TERM_WARPS = 8, TERMS = CHUNK / TERM_WARPS;
// The largest cut of the refractory response for which spikes are kept in a register.
constexpr long long REGISTER_STEPS = 64;

// What dense_neuron stores of the potentials.
constexpr int KEEP_REAL = 1, KEEP_HALF = 2;

// The part of a block's work that its gathering warps do, a frame at a time. The frames of a chunk are numbered by part,
// then sample, then step: part 0 is the chunk, part 1, if inputs are gathered again, the same `cut` steps earlier.
struct Gatherer {
    const unsigned *words;
    long long frame_words, steps, samples, low, cut;
    int group, count;  // samples of the block, frames of a chunk
    long long begin = 0;
    int place;

    // The frame in words; null where there is none.
    __device__ __forceinline__ const unsigned *frame() const
    {
        const int row = place / CHUNK;
        const bool again = row >= group;
        const long long t = begin + place % CHUNK - (again ? cut : 0), n = low + row - (again ? group : 0);
        return 0 <= t && t < steps && n < samples ? words + (t * samples + n) * frame_words : nullptr;
    }

    __device__ __forceinline__ Words<DEPTH> load() const
    {
        const unsigned *from = frame();
        return Words<DEPTH>(from, from ? frame_words : 0, 0);
    }

    __device__ __forceinline__ void advance(int warps)
    {
        place += warps;
        if (place >= count) {
            place = place % warps;
            begin += CHUNK;
        }
    }
};

// The neurons of 32 outputs of a sample, one a lane.
struct Walker {
    Recurrence response;
    Recurrence nu;
    real theta;
    long long ref_cut;
    real *past;              // this lane's part of the inputs within the response
    int slot = 0;            // of past, read and written next
    unsigned long long recent = 0;

    // The spikes of `ref_cut` steps before `begin` and the 31 steps after that, from the words written so far.
    __device__ __forceinline__ unsigned leaving_spikes(const unsigned *mine, long long begin) const
    {
        const long long first = begin - ref_cut, word = first >> 5;
        const unsigned low = word >= 0 ? mine[word] : 0, high = word + 1 >= 0 ? mine[word + 1] : 0;
        return ((unsigned long long)high << 32 | low) >> (first & 31);
    }

    // One step: returns the potential, and the spike as the lowest bit of `recent`.
    __device__ __forceinline__ real step(real entering, real leaving, bool old_spike)
    {
        const real value = response.output(leaving) + nu.output(old_spike);
        const bool fires = value >= theta;
        response.accept(entering, leaving);
        nu.accept(fires, old_spike);
        recent = recent << 1 | fires;
        return value;
    }
};

extern "C" __global__ __launch_bounds__(THREADS, 1) void dense_neuron(
    const unsigned *__restrict__ words,  // (steps, samples, lines, line_words), spikes
    const real *__restrict__ w,          // (inputs, outputs)
    real *__restrict__ u,                // (steps, samples, outputs), potential, written if keep is KEEP_REAL, else empty
    float16 *__restrict__ half,          // (steps, samples, outputs), potential, written if keep is KEEP_HALF, else empty
    unsigned *__restrict__ fired,        // (steps, samples, out_words), spikes, written
    unsigned *by_neuron,                 // (outputs, samples, time_words), spikes, written and read back
    long long steps,                     // time steps
    long long samples,                   // samples of the batch
    long long inputs,                    // lines x line
    long long outputs,                   // neurons of the layer
    long long lines,                     // of a frame of x
    long long line_words,                // words of a line
    long long line,                      // inputs of a line
    int group,                           // samples of a block, one walking warp for each
    bool copied,                         // whether the weights of a block are copied into shared memory
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
    const long long tiles = (outputs + LANES - 1) / LANES, tile = blockIdx.x % tiles;
    const long long low = blockIdx.x / tiles * group, output = tile * LANES + threadIdx.x % LANES;
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, gathering = blockDim.x / LANES - group;
    const int kept = again || cut >= steps ? 0 : cut;  // steps of past
    const int frames = (again ? 2 : 1) * group * CHUNK;

    unsigned *const list = reinterpret_cast<unsigned *>(shared) + (warp - group) * LIST;
    real *const chunks = reinterpret_cast<real *>(shared + gathering * LIST * sizeof(unsigned));
    real *const past = chunks + 2 * frames * LANES;
    real *const copy = past + group * kept * LANES;
    if (copied)
        copy_rows(copy, w, inputs, outputs, tile * LANES);

    const Entries entries(line_words, line, 1);
    const DistantRows distant{w + min(output, outputs - 1), outputs};
    const long long n = low + warp, out_words = tiles, time_words = (steps + CHUNK - 1) / CHUNK;
    Gatherer gatherer{words, lines * line_words, steps, samples, low, cut, group, frames};
    gatherer.place = warp - group;
    Words<DEPTH> next(words, 0, 0);
    if (warp >= group)
        next = gatherer.load();
    Walker walker{
        {decay, gain, cut_p, cut_q}, {ref_decay, ref_gain, ref_cut_p, ref_cut_q}, theta, ref_cut,
        past + warp * kept * LANES + lane};
    if (warp < group)
        for (int i = 0; i < kept; ++i)
            walker.past[i * LANES] = 0;
    __syncthreads();

    for (long long begin = 0; begin < steps + CHUNK; begin += CHUNK) {
        if (warp >= group) {
            real *const chunk = chunks + (begin / CHUNK & 1) * frames * LANES + lane;
            while (begin < steps && gatherer.begin == begin && gatherer.place < frames) {
                const Words<DEPTH> loaded = next;
                const unsigned *const frame = gatherer.frame();
                real *const to = chunk + gatherer.place * LANES;
                gatherer.advance(gathering);
                next = gatherer.load();
                real total = 0;
                const auto add = [&](const unsigned *list, int size) {
                    total = copied ? add_in_fours(total, list, size, SharedRows{copy + lane})
                                   : add_in_fours(total, list, size, distant);
                };
                const unsigned count = frame ? gatherer.frame_words : 0;
                for_each_list(loaded, frame, count, 0, DEPTH * LANES, entries, list, add);
                *to = total;
            }
        } else if (begin > 0 && n < samples) {
            const long long first = begin - CHUNK;
            const real *const entered = chunks + (first / CHUNK & 1) * frames * LANES + warp * CHUNK * LANES + lane;
            const real *const left = entered + group * CHUNK * LANES;
            const bool exists = output < outputs;
            unsigned *const mine = by_neuron + (output * samples + n) * time_words;
            const bool read_back = exists && ref_cut > REGISTER_STEPS && ref_cut < steps;
            const unsigned old_spikes = read_back ? walker.leaving_spikes(mine, first) : 0;
            unsigned ballots = 0, spikes = 0;
            for (int i = 0; i < CHUNK; i += AHEAD) {
                real entering[AHEAD], leaving[AHEAD];
#pragma unroll
                for (int k = 0; k < AHEAD; ++k) {
                    const bool inside = first + i + k < steps;
                    entering[k] = inside ? entered[(i + k) * LANES] : 0;
                    leaving[k] = again && inside ? left[(i + k) * LANES] : 0;
                }
                if (kept) {
#pragma unroll
                    for (int k = 0; k < AHEAD; ++k) {
                        leaving[k] = walker.past[walker.slot * LANES];
                        walker.past[walker.slot * LANES] = entering[k];
                        walker.slot = walker.slot + 1 == kept ? 0 : walker.slot + 1;
                    }
                }
#pragma unroll
                for (int k = 0; k < AHEAD; ++k) {
                    const bool old_spike =
                        ref_cut > REGISTER_STEPS ? old_spikes >> (i + k) & 1 : walker.recent >> (ref_cut - 1) & 1;
                    const real value = walker.step(entering[k], leaving[k], old_spike);
                    const bool inside = first + i + k < steps, fires = walker.recent & 1 && inside && exists;
                    const unsigned ballot = __ballot_sync(ALL_LANES, fires);
                    ballots = lane == i + k ? ballot : ballots;
                    spikes |= unsigned(fires) << (i + k);
                    const long long at = ((first + i + k) * samples + n) * outputs + output;
                    if (inside && exists && keep == KEEP_REAL)
                        u[at] = value;
                    if (inside && exists && keep == KEEP_HALF)
                        half[at] = to_float16(value);
                }
            }
            if (exists)
                mine[first / CHUNK] = spikes;
            if (first + lane < steps)
                fired[((first + lane) * samples + n) * out_words + tile] = ballots;
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
                const real value = exact ? rho[k] * (term[k] + nu.output(ref_leaving[k])) : term[k];
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
            terms[step * LANES] = exact ? grad[i] : rho * grad[i];
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

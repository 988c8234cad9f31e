// The gradient of the weighted input of a dense layer and its neurons, in one sweep backward.
//
//   dense_neuron_adjoint   errors = neuron_adjoint(g, u), or neuron_adjoint_exact(g, u), of kernels/srm/srm.cu
//
// g may be given as a product, g[t, j] = sum_k next_errors[t, k] next_weight[j, k]: with the errors and the weight of
// the next layer, if that is narrow. It is then never stored.
//
// Layout: a column is a neuron of a sample, m = sample outputs + output; all arrays are (steps, columns), C-contiguous.
//
// The gradient of a spike and the surrogate need no other step, the filters need all later ones. So a block of 32
// columns goes backward through time in chunks of 32 steps: 8 of its warps compute the terms of a chunk, while the
// first walks the chunk after it; a barrier follows. A lane is a column.
//
//     pass c, from the last                                       shared memory
//     first warp: adjoint filters,        walks chunk c + 1       terms   [2][1 or 2][32 steps][32 columns]
//       errors                                                    past    [longest cut][32 columns]
//     8 warps, 4 steps each: product,     terms of chunk c        weight  [next][32 columns]
//       surrogate
//
// The gradients of the potential stay in shared memory until they leave the filters (past); where they do not fit, they
// are written and read in an array.
//
// Precision: `real` throughout. Differs from the CPU's by the rounding of exp, and by the order of the product.
// Twins: kernels/srm/cpu.py. Tests: tests/kernels/test_twins_dense_neuron.py.

extern __shared__ __align__(16) unsigned char shared[];

constexpr int LANES = 32;
// Steps of a chunk.
constexpr int CHUNK = 32;
// Warps that compute terms, and the steps of each in a chunk.
constexpr int TERM_WARPS = 8, TERMS = CHUNK / TERM_WARPS;

// The gradient of the potential of one column at the last steps: a ring of rows in shared memory, or the rows of an
// array. A thread reads only what it has written.
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
    bool stored_half;
    real theta, steep, height;

    // Writes the terms of the steps `first`, first + 8, ... of a chunk: exact, the gradient and dt rho(u), 32 rows
    // later; else their product. 0 behind the last step.
    template <bool exact>
    __device__ __forceinline__ void write(real *terms, long long begin, int first) const
    {
        real grad[TERMS] = {}, potential[TERMS];
        long long row[TERMS];
#pragma unroll
        for (int i = 0; i < TERMS; ++i) {
            row[i] = min(begin + first + i * TERM_WARPS, steps - 1);
            potential[i] = stored_half ? from_float16(half[row[i] * columns + m]) : u[row[i] * columns + m];
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

// Goes through all chunks, from the last to the first: the first warp walks a chunk while the others compute the terms
// of the chunk before it in time. `chunks`: this lane's part of two chunks of terms.
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
    bool stored_half,                      // whether the potentials are float16
    int length,                            // rows of shared memory for the gradient of the potential, or 0
    real theta,                            // threshold
    real steep,                            // 1 / (tau_rho theta)
    real rho_height,                       // dt scale_rho / (tau_rho theta)
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
    const long long first = (long long)blockIdx.x * LANES, column = first + lane;
    // A lane behind the last column computes the terms of the last, and does not walk.
    const long long m = min(column, columns - 1);
    real *const chunks = reinterpret_cast<real *>(shared) + lane;
    real *const ring = chunks + (exact ? 4 : 2) * CHUNK * LANES, *const weight = ring + length * LANES;
    for (int i = threadIdx.x; i < LANES * next; i += blockDim.x) {
        const int k = i % int(next), of = i / int(next);
        weight[k * LANES + of - lane] = next_weight[min(first + of, columns - 1) % outputs * next + k];
    }
    __syncthreads();

    const Terms terms{g, u, weight, half, steps, columns, outputs, next, m, stored_half, theta, steep, rho_height};
    const Recurrence response{decay, gain, cut_p, cut_q}, nu{ref_decay, ref_gain, ref_cut_p, ref_cut_q};
    Past kept = length ? Past{ring, LANES, length} : Past{past + m, columns, int(steps)};
    kept.row = ((steps - 1) / CHUNK * CHUNK + CHUNK - 1) % kept.length;
    const long long mine = column < columns ? steps : 0;
    if (exact)
        sweep_back<true>(terms, {response, nu, kept, mine, cut, ref_cut}, chunks, errors + m);
    else
        sweep_back<false>(terms, {response, nu, kept, mine, cut, ref_cut}, chunks, errors + m);
}

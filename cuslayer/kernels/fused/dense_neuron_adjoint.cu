// The gradient of the weighted input of a dense layer and its neurons, in one sweep backward.
//
//   dense_neuron_adjoint   errors: the gradient by the neurons' input, of the gradient g of their spikes and the potential u
//
// g may be given as a product, g[t, j] = sum_k next_errors[t, k] next_weight[j, k]: with the errors and the weight of
// the next layer, if that is narrow. It is then never stored.
//
// Layout: a column is a neuron of a sample, m = sample outputs + output; all arrays are (steps, columns), C-contiguous.
//
// The gradient of a spike and the surrogate need no other step, the rest needs all later ones. So a block of 32
// columns goes backward through time in chunks of 32 steps: 8 of its warps compute the terms of a chunk, while the
// first computes the chunk after it; a barrier follows. A lane is a column.
//
//     pass c, from the last                                       shared memory
//     first warp: back over the steps,    errors of chunk c + 1    terms   [2][1 to 3][32 steps][32 columns]
//       errors                                                    past    [length][32 columns]
//     8 warps, 4 steps each: product,     terms of chunk c        weight  [next][32 columns]
//       surrogate
//
// What earlier steps use again stays in shared memory (past); where it does not fit, it is written and read in an array.
//
// Precision: `real` throughout. Differs from the CPU's by the rounding of exp, and by the order of the product.
// Twins: kernels/scan/cpu.py. Tests: tests/kernels/test_twins_dense_neuron.py.

#include "warp.cuh"
#include "neuron_adjoint.cuh"
#include "kind.cuh"
#include "backward_neurons.cuh"

extern __shared__ __align__(16) unsigned char shared[];

// Warps that compute terms, and the steps of each in a chunk.
constexpr int TERM_WARPS = 8, TERMS = CHUNK / TERM_WARPS;

// What needs no other step of a column: the gradient of its spikes, and the surrogate.
struct Terms {
    const real *g, *u, *weight;
    const float16 *half;
    long long steps, columns, outputs, next, m;
    bool stored_half;
    const NeuronBack &of;

    // Writes the terms of the steps `first`, first + 8, ... of a chunk.
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
            real values[Kind::TERMS<exact> + 1];
            of.template terms_of<exact>(potential[i], grad[i], values);
#pragma unroll
            for (int term = 0; term < Kind::TERMS<exact>; ++term)
                terms[(term * CHUNK + first + i * TERM_WARPS) * LANES] = values[term];
        }
    }
};

// Goes through all chunks, from the last to the first: the first warp filters a chunk while the others compute the terms
// of the chunk before it in time. `chunks`: this lane's part of two chunks of terms.
template <bool exact>
__device__ __forceinline__ void sweep_back(const Terms &terms, WalkerBack<exact> walker, real *chunks, real *errors)
{
    const int warp = threadIdx.x / LANES;
    const long long last = (terms.steps - 1) / CHUNK * CHUNK;
    for (long long begin = last; begin >= -CHUNK; begin -= CHUNK) {
        const auto chunk = [&](long long of) { return chunks + (of / CHUNK & 1) * Kind::TERMS<exact> * CHUNK * LANES; };
        if (warp > 0 && begin >= 0)
            terms.write<exact>(chunk(begin), begin, warp - 1);
        if (warp == 0 && begin < last)
            walker.walk(chunk(begin + CHUNK), errors, begin + CHUNK, terms.columns);
        __syncthreads();
    }
}

extern "C" __global__ void dense_neuron_adjoint(
    const real *__restrict__ g,            // gradient of the spikes (steps, columns); if next > 0, next_errors
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
    bool exact,                            // whether all paths through a spike are included
    bool stored_half,                      // whether the potentials are float16
    int length,                            // rows of shared memory for what earlier steps use again, or 0
    const real *__restrict__ constants,    // (constants, period), of each neuron
    const __grid_constant__ Numbers numbers,  // constants of all neurons
    const __grid_constant__ Surrogate rho)    // the surrogate
{
    const int lane = threadIdx.x % LANES;
    const long long first = (long long)blockIdx.x * LANES, column = first + lane;
    // A lane after the last column computes the terms of the last, and does not filter.
    const long long m = min(column, columns - 1);
    real *const chunks = reinterpret_cast<real *>(shared) + lane;
    const int rows = 2 * (exact ? Kind::TERMS<true> : Kind::TERMS<false>);
    real *const ring = chunks + rows * CHUNK * LANES, *const weight = ring + length * LANES;
    for (int i = threadIdx.x; i < LANES * next; i += blockDim.x) {
        const int k = i % int(next), of = i / int(next);
        weight[k * LANES + of - lane] = next_weight[min(first + of, columns - 1) % outputs * next + k];
    }
    __syncthreads();

    const NeuronBack of(numbers, rho, constants, m);
    const Terms terms{g, u, weight, half, steps, columns, outputs, next, m, stored_half, of};
    Past kept = length ? Past{ring, LANES, length} : Past{past + m, columns, int(steps)};
    kept.row = ((steps - 1) / CHUNK * CHUNK + CHUNK - 1) % kept.length;
    const long long mine = column < columns ? steps : 0;
    if (exact)
        sweep_back<true>(terms, {numbers, rho, constants, m, kept, mine}, chunks, errors + m);
    else
        sweep_back<false>(terms, {numbers, rho, constants, m, kept, mine}, chunks, errors + m);
}

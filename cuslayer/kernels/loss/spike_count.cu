// The error of spike counts in a window of R steps, as a signal in time, the gradient of the spikes, and the score.
//
//   a[t] = sum_k eps[k] x[t-k]                        x = s outside of the window, 0 within
//   c    = count_scale (count - desired) / R          count = sum of s within the window
//   spike_count_error           e[t] = a[t] + c within the window (c alone if piecewise), a[t] outside of it
//                               E = dt / 2 sum e^2
//   spike_count_error_adjoint   y[t] = dt g sum_k eps[k] e[t+k]
//   spike_count_score           totals += (loss, correctly classified samples, samples, 1 if a neuron has a spike, 1)
//                               a sample's class is the neuron with most spikes; of equal counts, the lowest
//                               totals[5] is the number of the first batch, from 1, whose loss is not finite, totals[6]
//                               that of the first whose output is not; 0 if there is none
//
// eps is an alpha function, computed as a recurrence (common.cuh), here in double: in float the recurrence of a long
// response has an error of some 1e-6. The spikes are booleans, numbers or packed.
//
// Layout: s, e, y are (steps, columns) with columns = samples x neurons, C-contiguous; packed spikes are (steps, samples,
// words of a sample). A block has RUNS warps and computes 32 columns: a lane one column, a warp one run of consecutive
// steps. A warp filters its run from the states 0; then it adds what the states of all earlier runs become by the
// beginning of its own, which the recurrence has in closed form, and filters its run again: two passes over steps / RUNS
// steps in place of one over all of them. For the score it counts its run; the last block to end then classifies, a sample
// a warp, and adds to the totals.
// Sums: a thread adds its run in time, the block its warps in order, and the last block to end adds those of all blocks
// in their order: no bit depends on which block that is.
// Precision: states, sums and totals are double, c and the result are `real`; counts of classes are compared as `real`.
// Twins: kernels/loss/cpu.py. Tests: tests/kernels/test_twins_spike_count.py.

#include "warp.cuh"

constexpr int RUNS = 16;
// Rows that a thread loads before it uses the first; AHEAD would take more registers than 512 threads have.
constexpr int BATCH = 4;

// Which array has an output; the two others are any, not accessed. kernels/cuda/launch.py has the same numbers.
enum Form { SPIKES, NUMBERS, PACKED };

// The column of a thread; the first one where it has none.
struct Column {
    bool exists;
    long long m;
    long long sample;
    long long neuron;
    int form;
    const void *first;  // its first element
    long long row;      // elements of a row

    __device__ __forceinline__ Column(
        int form, const bool *spikes, const real *numbers, const unsigned *packed, long long samples, long long neurons)
        : form(form)
    {
        const long long here = blockIdx.x * (long long)LANES + threadIdx.x, words = (neurons + 31) / 32;
        exists = here < samples * neurons;
        m = exists ? here : 0;
        sample = exists ? here / neurons : 0;
        neuron = exists ? here % neurons : 0;
        first = form == PACKED ? (const void *)(packed + sample * words + neuron / 32)
                               : form == NUMBERS ? (const void *)(numbers + m) : spikes + m;
        row = samples * (form == PACKED ? words : neurons);
    }

    // Reads the wanted ones of the steps t, t + 1, ..., and 0 for the others. All loads begin before the first one ends.
    template <int count, typename Wanted>
    __device__ __forceinline__ void read(real (&values)[count], long long t, Wanted wanted) const
    {
        if (form == PACKED) {
            unsigned words[count];
#pragma unroll
            for (int i = 0; i < count; ++i)
                words[i] = wanted(t + i) ? static_cast<const unsigned *>(first)[(t + i) * row] : 0;
#pragma unroll
            for (int i = 0; i < count; ++i)
                values[i] = words[i] >> (neuron % 32) & 1;
        } else if (form == NUMBERS) {
#pragma unroll
            for (int i = 0; i < count; ++i)
                values[i] = wanted(t + i) ? static_cast<const real *>(first)[(t + i) * row] : real(0);
        } else {
            bool fired[count];
#pragma unroll
            for (int i = 0; i < count; ++i)
                fired[i] = wanted(t + i) ? static_cast<const bool *>(first)[(t + i) * row] : false;
#pragma unroll
            for (int i = 0; i < count; ++i)
                values[i] = fired[i];
        }
    }
};

// The steps of a thread: run number `run` of its column; none without a column.
struct Run {
    int lane, run;
    long long m, length, begin, end;

    __device__ __forceinline__ Run(long long steps, long long columns)
        : lane(threadIdx.x), run(threadIdx.y), m(blockIdx.x * (long long)LANES + lane), length((steps + RUNS - 1) / RUNS),
          begin(m < columns ? run * length : steps), end(begin + length < steps ? begin + length : steps)
    {
    }

    __device__ __forceinline__ bool is_first() const { return lane == 0 && run == 0; }
};

// The constants of a response: the recurrence of common.cuh in double, which needs no `flush`: -ftz=true changes floats only.
struct Alpha {
    double decay;      // exp(-dt / tau)
    double gain;       // amplitude e dt / tau
    long long cut;     // steps until an input leaves the filter; none does if cut >= steps
    double cut_p;      // decay^cut
    double cut_q;      // cut decay^cut
    double run_decay;  // decay to the power of the steps of a run
};

struct Response {
    const Alpha &of;
    double q = 0;
    double p = 0;

    __device__ __forceinline__ double step(double x, double old)
    {
        q = of.decay * (q + p) - of.cut_q * old;
        p = of.decay * p + x - of.cut_p * old;
        return of.gain * q;
    }
};

// The states of each run of a block's columns, from 0 at its beginning.
struct States {
    double q[RUNS][LANES];
    double p[RUNS][LANES];
};

// Filters steps [begin, end) of an input and calls use(k, x[k], a[k]) for each. x.read reads steps, and x.enters(k) says
// whether the filter gets one: what does not enter counts as 0.
template <typename Input, typename Use>
__device__ __forceinline__ void filter_run(Response &response, const Input &x, const Run &own, Use use)
{
    const long long end = own.end, cut = response.of.cut;
#pragma unroll 1
    for (long long k = own.begin; k < end; k += BATCH) {
        real values[BATCH], old[BATCH];
        x.read(values, k, [=](long long row) { return row < end; });
        x.read(old, k - cut, [&](long long left) { return left >= 0 && left < end - cut && x.enters(left); });
#pragma unroll
        for (int i = 0; i < BATCH; ++i)
            if (k + i < end)
                use(k + i, double(values[i]), response.step(x.enters(k + i) ? double(values[i]) : 0.0, double(old[i])));
    }
}

// Shares the states at the end of a thread's run, and sets them to those at its beginning: without input, p becomes
// decay^length p and q becomes decay^length (q + length p).
__device__ __forceinline__ void start_run(Response &response, States &states, const Run &own)
{
    states.q[own.run][own.lane] = response.q;
    states.p[own.run][own.lane] = response.p;
    __syncthreads();
    const double run_decay = response.of.run_decay;
    response.q = response.p = 0;
#pragma unroll 1
    for (int earlier = 0; earlier < own.run; ++earlier) {
        response.q = run_decay * (response.q + double(own.length) * response.p) + states.q[earlier][own.lane];
        response.p = run_decay * response.p + states.p[earlier][own.lane];
    }
}

// The sum over a block, in a fixed order; only thread (0, 0) has it.
__device__ __forceinline__ double block_sum(double value)
{
    __shared__ double of_warps[RUNS];
    value = warp_sum(value);
    __syncthreads();
    if (threadIdx.x == 0)
        of_warps[threadIdx.y] = value;
    __syncthreads();
    double sum = 0;
    if (threadIdx.x == 0 && threadIdx.y == 0)
#pragma unroll 1
        for (int warp = 0; warp < RUNS; ++warp)
            sum += of_warps[warp];
    return sum;
}

// The window, the factor of the error of counts, and whether the error within the window depends on the count alone.
struct Region {
    long long first, last;
    real count_scale;
    bool piecewise;
};

// What is desired of each label, unless the counts are given.
struct Labelled {
    bool given;
    real of_label, of_others;
};

// The spikes outside of the window.
struct Outside : Column {
    const Region &window;

    __device__ __forceinline__ Outside(const Column &s, const Region &window) : Column(s), window(window) {}
    __device__ __forceinline__ bool enters(long long t) const { return t < window.first || window.last <= t; }
};

// The desired count of a column: its own, or its class's. A label that is no class makes it NaN.
__device__ __forceinline__ real desired_count(
    const Column &place, const real *desired, const long long *labels, const Labelled &by_label, long long neurons)
{
    if (!place.exists || !by_label.given)
        return place.exists ? desired[place.m] : real(0);
    const long long label = labels[place.sample];
    if (label < 0 || label >= neurons)
        return real(__int_as_float(0x7FFFFFFF));
    return label == place.neuron ? by_label.of_label : by_label.of_others;
}

extern "C" __global__ __launch_bounds__(LANES * RUNS, 1) void spike_count_error(
    const bool *__restrict__ spikes,            // (steps, samples x neurons), of form SPIKES, or empty
    const real *__restrict__ numbers,           // (steps, samples x neurons), of form NUMBERS, or empty
    const unsigned *__restrict__ packed,        // (steps x samples, words of a sample), of form PACKED, or empty
    const real *__restrict__ desired,           // (samples x neurons), desired counts, or empty by label
    const long long *__restrict__ labels,       // (samples), classes, or empty unless by label
    real *__restrict__ e,                       // (steps, samples x neurons), error signal, written
    double *__restrict__ parts,                 // (blocks,), sums of squares, written
    real *__restrict__ error,                   // (1,), E, written
    unsigned *__restrict__ arrived,             // (1,), blocks that have ended, 0 before and after
    int form,                                   // of the spikes
    long long steps,                            // time steps
    long long samples,                          // samples of the batch
    long long neurons,                          // neurons of a sample
    double dt,                                  // ms
    const __grid_constant__ Region window,      // steps whose spikes are counted
    const __grid_constant__ Labelled by_label,  // desired counts by labels
    const __grid_constant__ Alpha alpha)        // the response
{
    __shared__ States states;
    __shared__ double counts[RUNS][LANES];
    const Run own(steps, samples * neurons);
    const Outside s(Column(form, spikes, numbers, packed, samples, neurons), window);
    const real wanted = desired_count(s, desired, labels, by_label, neurons);
    Response response{alpha};

    double count = 0;
    filter_run(response, s, own, [&](long long t, double spike, double) { count += s.enters(t) ? 0.0 : spike; });
    counts[own.run][own.lane] = count;
    start_run(response, states, own);

    count = 0;
#pragma unroll 4
    for (int i = 0; i < RUNS; ++i)
        count += counts[i][own.lane];
    const real c = (real(count) - wanted) / real(window.last - window.first) * window.count_scale;
    double squares = 0;
    filter_run(response, s, own, [&](long long t, double, double a) {
        const real value = s.enters(t) ? real(a) : window.piecewise ? c : real(a) + c;
        e[t * samples * neurons + own.m] = value;
        squares += double(value) * double(value);
    });

    const double sum = block_sum(squares);
    if (own.is_first())
        parts[blockIdx.x] = sum;
    if (is_last_block(arrived)) {
        double mine = 0;
#pragma unroll 1
        for (long long i = own.run * LANES + own.lane; i < gridDim.x; i += RUNS * LANES)
            mine += parts[i];
        const double all = block_sum(mine);
        if (own.is_first())
            *error = real(all * (dt / 2));
    }
}

// A column of the error signal, times a factor, from its last step to its first.
struct Reversed {
    const real *last;
    long long columns;
    real factor;

    template <int count, typename Wanted>
    __device__ __forceinline__ void read(real (&values)[count], long long k, Wanted wanted) const
    {
#pragma unroll
        for (int i = 0; i < count; ++i)
            values[i] = wanted(k + i) ? last[-(k + i) * columns] * factor : real(0);
    }
    __device__ __forceinline__ bool enters(long long) const { return true; }
};

extern "C" __global__ __launch_bounds__(LANES * RUNS, 1) void spike_count_error_adjoint(
    const real *__restrict__ e,           // (steps, columns), error signal
    const real *__restrict__ g,           // (1,), gradient of E
    real *__restrict__ y,                 // (steps, columns), gradient of the spikes, written
    long long steps,                      // time steps
    long long columns,                    // samples times neurons
    real dt,                              // ms
    const __grid_constant__ Alpha alpha)  // the response
{
    // The recurrence from the last step to the first: runs are counted from the end.
    __shared__ States states;
    const Run own(steps, columns);
    const Reversed input{e + (steps - 1) * columns + own.m, columns, *g * dt};
    Response response{alpha};
    filter_run(response, input, own, [](long long, double, double) {});
    start_run(response, states, own);
    filter_run(response, input, own, [&](long long k, double, double value) {
        y[(steps - 1 - k) * columns + own.m] = real(value);
    });
}

// The most frequent class so far.
struct Most {
    real count;
    long long neuron;

    // Takes another class if it has more spikes, or as many and a lower number.
    __device__ __forceinline__ void meet(real other, long long number)
    {
        if (other > count || (other == count && number < neuron)) {
            count = other;
            neuron = number;
        }
    }
};

// The class of a sample, found by a warp.
__device__ __forceinline__ long long most_frequent(const double *counts, long long neurons)
{
    Most most{real(counts[0]), 0};
    for (long long j = threadIdx.x; j < neurons; j += LANES)
        most.meet(real(counts[j]), j);
    for (int distance = LANES / 2; distance > 0; distance /= 2) {
        const real other = __shfl_down_sync(ALL_LANES, most.count, distance);
        const long long number = __shfl_down_sync(ALL_LANES, most.neuron, distance);
        most.meet(other, number);
    }
    return __shfl_sync(ALL_LANES, most.neuron, 0);
}

extern "C" __global__ __launch_bounds__(LANES * RUNS, 1) void spike_count_score(
    const bool *__restrict__ spikes,       // (steps, samples x neurons), of form SPIKES, or empty
    const real *__restrict__ numbers,      // (steps, samples x neurons), of form NUMBERS, or empty
    const unsigned *__restrict__ packed,   // (steps x samples, words of a sample), of form PACKED, or empty
    const long long *__restrict__ labels,  // (samples), classes, or empty unless by class
    const real *__restrict__ error,        // (1,), loss of the batch, or empty without error
    double *__restrict__ counts,           // (samples x neurons), spikes of each neuron, written
    bool *__restrict__ fired,              // (blocks,), whether a block has seen a spike, written
    double *__restrict__ totals,           // (7,), as above, updated
    unsigned *__restrict__ arrived,        // (1,), blocks that have ended, 0 before and after
    int form,                              // of the output
    long long steps,                       // time steps
    long long samples,                     // samples of the batch
    long long neurons,                     // neurons of a sample
    bool by_class,                         // the targets are classes
    bool with_error,                       // the loss is in an array
    double factor)                         // factor of the loss; without an array, the loss itself
{
    __shared__ double parts[RUNS][LANES];
    __shared__ int right[RUNS];
    const long long columns = samples * neurons;
    const Run own(steps, columns);
    const int thread = own.run * LANES + own.lane;
    double count = 0;
    bool any = false;
    const Column s(form, spikes, numbers, packed, samples, neurons);
#pragma unroll 1
    for (long long t = own.begin; t < own.end; t += AHEAD) {
        real rows[AHEAD];
        s.read(rows, t, [&](long long row) { return row < own.end; });
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            count += double(rows[i]);
            any = any || rows[i] != 0;
        }
    }
    parts[own.run][own.lane] = count;
    const bool block_fired = __syncthreads_or(any);
    if (own.run == 0 && own.m < columns) {
        double sum = 0;
        for (int i = 0; i < RUNS; ++i)
            sum += parts[i][own.lane];
        counts[own.m] = sum;
    }
    if (own.is_first())
        fired[blockIdx.x] = block_fired;
    if (!is_last_block(arrived))
        return;

    int mine = 0;
    if (by_class)
        for (long long n = own.run; n < samples; n += RUNS)
            mine += most_frequent(counts + n * neurons, neurons) == labels[n];
    if (own.lane == 0)
        right[own.run] = mine;
    any = false;
    for (long long i = thread; i < gridDim.x; i += RUNS * LANES)
        any = any || fired[i];
    const bool all_fired = __syncthreads_or(any);
    // Only numbers can have a sum that is not finite.
    bool wrong = false;
    if (form == NUMBERS)
        for (long long i = thread; i < columns; i += RUNS * LANES)
            wrong = wrong || counts[i] - counts[i] != 0;
    const bool output_wrong = __syncthreads_or(wrong);
    if (own.is_first()) {
        for (int i = 1; i < RUNS; ++i)
            mine += right[i];
        const double loss = with_error ? double(*error) * factor : factor;
        totals[0] += loss;
        totals[1] += mine;
        totals[2] += double(samples);
        totals[3] += all_fired;
        totals[4] += 1;
        if (loss - loss != 0 && totals[5] == 0)
            totals[5] = totals[4];
        if (output_wrong && totals[6] == 0)
            totals[6] = totals[4];
    }
}

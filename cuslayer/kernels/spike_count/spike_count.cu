// The error of spike counts in a region of R steps, as a signal in time, and the gradient of the spikes.
//
//   a[t] = sum_k eps[k] x[t-k]                        x = s outside of the region, 0 within
//   c    = count_scale (count - desired) / R          count = sum of s within the region
//   spike_count_error           e[t] = a[t] + c within the region (c alone if piecewise), a[t] outside of it
//                               E = dt / 2 sum e^2
//   spike_count_error_adjoint   y[t] = dt g sum_k eps[k] e[t+k]
//
// eps is an alpha function, computed as a recurrence (common.cuh), here in double: in float the recurrence of a long
// response has an error of some 1e-6. The spikes are booleans, numbers or packed.
//
// Layout: s, e, y are (steps, columns) with columns = samples x neurons, C-contiguous; packed spikes are (steps, samples,
// words of a sample). A block has RUNS warps and computes 32 columns: a lane one column, a warp one run of consecutive
// steps. A warp filters its run from the states 0; then it adds what the states of all earlier runs become by the
// beginning of its own, which the recurrence has in closed form, and filters its run again: two passes over steps / RUNS
// steps in place of one over all of them.
// Sums: a thread adds its run in time, the block its warps in order, and the last block to end adds those of all blocks
// in their order: the bits of E do not depend on which block that is.
// Precision: states and sums are double, c and the result are `real`.
// Twins: kernels/spike_count/cpu.py. Tests: tests/kernels/test_twins_spike_count.py.

#include "columns.cuh"

constexpr int RUNS = 16;
// Rows that a thread loads before it uses the first; AHEAD would take more registers than 512 threads have.
constexpr int BATCH = 4;

// The recurrence of common.cuh in double, which needs no `flush`: -ftz=true changes floats only.
struct Response {
    double decay;
    double gain;
    double cut_p;
    double cut_q;
    double q;
    double p;

    __device__ __forceinline__ double step(double x, double old)
    {
        q = decay * (q + p) - cut_q * old;
        p = decay * p + x - cut_p * old;
        return gain * q;
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
__device__ __forceinline__ void filter_run(
    Response &response, const Input &x, long long begin, long long end, long long cut, Use use)
{
#pragma unroll 1
    for (long long k = begin; k < end; k += BATCH) {
        real values[BATCH], old[BATCH];
        x.read(values, k, [=](long long row) { return row < end; });
        x.read(old, k - cut, [&](long long left) { return left >= 0 && left < end - cut && x.enters(left); });
#pragma unroll
        for (int i = 0; i < BATCH; ++i)
            if (k + i < end)
                use(k + i, double(values[i]), response.step(x.enters(k + i) ? double(values[i]) : 0.0, double(old[i])));
    }
}

// Sets the states to those at the beginning of a run of `length` steps each: without input, p becomes decay^length p and
// q becomes decay^length (q + length p).
__device__ __forceinline__ void start_run(
    Response &response, const States &states, int run, int lane, long long length, double run_decay)
{
    response.q = response.p = 0;
#pragma unroll 1
    for (int earlier = 0; earlier < run; ++earlier) {
        response.q = run_decay * (response.q + double(length) * response.p) + states.q[earlier][lane];
        response.p = run_decay * response.p + states.p[earlier][lane];
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

// The region and what is desired in it.
struct Goal {
    long long first;
    long long last;
    real count_scale;
    bool piecewise;

    __device__ __forceinline__ bool holds(long long t) const { return first <= t && t < last; }
};

// The spikes outside of the region.
struct Outside : Column {
    Goal goal;

    __device__ __forceinline__ Outside(const Column &s, const Goal &goal) : Column(s), goal(goal) {}
    __device__ __forceinline__ bool enters(long long t) const { return !goal.holds(t); }
};

// The desired count of a column: its own, or that of its class. A label that is no class makes it NaN.
__device__ __forceinline__ real desired_count(
    const Column &place, const real *desired, const long long *labels, bool by_label, real of_label, real of_others,
    long long neurons)
{
    if (!place.exists || !by_label)
        return place.exists ? desired[place.m] : real(0);
    const long long label = labels[place.sample];
    if (label < 0 || label >= neurons)
        return real(__int_as_float(0x7FFFFFFF));
    return label == place.neuron ? of_label : of_others;
}

extern "C" __global__ __launch_bounds__(LANES * RUNS, 1) void spike_count_error(
    const bool *__restrict__ spikes,       // (steps, columns), of form SPIKES; else any array, not accessed, as the next two
    const real *__restrict__ numbers,      // (steps, columns), of form NUMBERS
    const unsigned *__restrict__ packed,   // (steps, samples, words of a sample), of form PACKED
    const real *__restrict__ desired,      // (columns,), desired counts; any array, not accessed, by label
    const long long *__restrict__ labels,  // (samples,), classes; any array, not accessed, unless by label
    real *__restrict__ e,                  // (steps, columns), error signal, written
    double *__restrict__ parts,            // (blocks,), sums of squares, written
    real *__restrict__ error,              // (1,), E, written
    unsigned *__restrict__ arrived,        // (1,), blocks that have ended, 0 before and after
    int form,                              // of the spikes
    long long steps,                       // time steps
    long long samples,                     // samples of the batch
    long long neurons,                     // neurons of a sample
    long long first,                       // first step of the region
    long long last,                        // last step of the region, plus one
    real count_scale,                      // factor of the error of counts
    bool piecewise,                        // within the region the error depends on the count alone
    bool by_label,                         // the desired counts are given by labels
    real of_label,                         // desired count of the labelled neuron
    real of_others,                        // desired count of the others
    double dt,                             // ms
    double decay,                          // exp(-dt / tau)
    double gain,                           // amplitude e dt / tau
    long long cut,                         // steps until an input leaves the filter; none does if cut >= steps
    double cut_p,                          // decay^cut
    double cut_q,                          // cut decay^cut
    double run_decay)                      // decay to the power of the steps of a run
{
    __shared__ States states;
    __shared__ double counts[RUNS][LANES];
    const int lane = threadIdx.x, run = threadIdx.y;
    const long long columns = samples * neurons, m = blockIdx.x * (long long)LANES + lane;
    const long long length = (steps + RUNS - 1) / RUNS;
    const long long begin = m < columns ? run * length : steps;
    const long long end = begin + length < steps ? begin + length : steps;
    const Goal goal{first, last, count_scale, piecewise};
    const Outside s(Column(form, spikes, numbers, packed, samples, neurons), goal);
    const real wanted = desired_count(s, desired, labels, by_label, of_label, of_others, neurons);
    Response response{decay, gain, cut_p, cut_q, 0, 0};

    double count = 0;
    filter_run(response, s, begin, end, cut, [&](long long t, double spike, double) {
        count += goal.holds(t) ? spike : 0.0;
    });
    counts[run][lane] = count;
    states.q[run][lane] = response.q;
    states.p[run][lane] = response.p;
    __syncthreads();

    count = 0;
#pragma unroll 4
    for (int i = 0; i < RUNS; ++i)
        count += counts[i][lane];
    const real c = (real(count) - wanted) / real(goal.last - goal.first) * goal.count_scale;
    start_run(response, states, run, lane, length, run_decay);
    double squares = 0;
    filter_run(response, s, begin, end, cut, [&](long long t, double, double a) {
        const real value = goal.holds(t) ? (goal.piecewise ? c : real(a) + c) : real(a);
        e[t * columns + m] = value;
        squares += double(value) * double(value);
    });

    const double sum = block_sum(squares);
    if (lane == 0 && run == 0)
        parts[blockIdx.x] = sum;
    if (is_last_block(arrived)) {
        double mine = 0;
#pragma unroll 1
        for (long long i = run * LANES + lane; i < gridDim.x; i += RUNS * LANES)
            mine += parts[i];
        const double all = block_sum(mine);
        if (lane == 0 && run == 0)
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
    const real *__restrict__ e,  // (steps, columns), error signal
    const real *__restrict__ g,  // (1,), gradient of E
    real *__restrict__ y,        // (steps, columns), gradient of the spikes, written
    long long steps,             // time steps
    long long columns,           // samples times neurons
    real dt,                     // ms
    double decay,                // exp(-dt / tau)
    double gain,                 // amplitude e dt / tau
    long long cut,               // steps until an input leaves the filter; none does if cut >= steps
    double cut_p,                // decay^cut
    double cut_q,                // cut decay^cut
    double run_decay)            // decay to the power of the steps of a run
{
    // The recurrence from the last step to the first: runs are counted from the end.
    __shared__ States states;
    const int lane = threadIdx.x, run = threadIdx.y;
    const long long m = blockIdx.x * (long long)LANES + lane;
    const long long length = (steps + RUNS - 1) / RUNS;
    const long long begin = m < columns ? run * length : steps;
    const long long end = begin + length < steps ? begin + length : steps;
    const Reversed input{e + (steps - 1) * columns + m, columns, *g * dt};
    Response response{decay, gain, cut_p, cut_q, 0, 0};
    filter_run(response, input, begin, end, cut, [](long long, double, double) {});
    states.q[run][lane] = response.q;
    states.p[run][lane] = response.p;
    __syncthreads();
    start_run(response, states, run, lane, length, run_decay);
    filter_run(response, input, begin, end, cut, [&](long long k, double, double value) {
        y[(steps - 1 - k) * columns + m] = real(value);
    });
}

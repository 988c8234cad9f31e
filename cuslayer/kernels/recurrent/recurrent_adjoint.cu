// Populations with a dense layer from their own spikes to themselves, backward.
//
//   recurrent_adjoint_KIND   g_s[t] = g[t] + w y[t + delay],   y[t]: the gradient of z[t] by g_s, from step to step
//
// for KIND srm, leaky or adaptive: the equations of kernels/KIND/KIND.cu.
//
// A block computes one sample, step by step; a thread has the neurons threadIdx.x, threadIdx.x + blockDim.x, ... The
// errors of step t + delay are copied to shared memory, then every thread multiplies its column of the transposed
// weights, neighbouring threads neighbouring columns. All other memory is a thread's own: states are in global memory,
// since a thread may have several neurons.
//
// Layout: arrays are (steps, samples, neurons), C-contiguous.
// Precision: `real` throughout; differs from the CPU's by the rounding of exp and of sums. Gradients under LEAST_STATE are
// 0.
// Twins: kernels/recurrent/cpu.py. Tests: tests/kernels/test_twins_recurrent.py.

#include "surrogate_shapes.cuh"
#include "population.cuh"

extern __shared__ __align__(16) unsigned char shared[];

template <typename Neurons>
__device__ __forceinline__ void run_backward(
    const Neurons &kind, const real *g, const real *u, const real *w, real *y, long long steps, long long samples,
    long long neurons, long long delay)
{
    real *const errors = reinterpret_cast<real *>(shared);
    const long long n = blockIdx.x, columns = samples * neurons;
    for (long long t = steps - 1; t >= 0; --t) {
        const bool reached = t + delay < steps;
        if (reached) {
            for (int j = threadIdx.x; j < neurons; j += blockDim.x)
                errors[j] = y[(t + delay) * columns + n * neurons + j];
            __syncthreads();
        }
        for (int j = threadIdx.x; j < neurons; j += blockDim.x) {
            real total = 0;
            if (reached)
                for (int i = 0; i < neurons; ++i)
                    total += errors[i] * w[i * neurons + j];
            const long long column = n * neurons + j;
            const Place place{columns, column, t, t * columns + column, j};
            y[place.at] = kind.backward(place, total + g[place.at], u[place.at]);
        }
        if (reached)
            __syncthreads();
    }
}

struct Srm {
    Filter response, refractory;
    real *g_u;
    long long steps, cut, ref_cut;
    bool exact;
    Slope slope;

    __device__ __forceinline__ real backward(const Place &place, real grad, real u) const
    {
        const bool begins = place.step == steps - 1;
        Recurrence f = response.load(place, begins), nu = refractory.load(place, begins);
        const real leaving = place.step + cut < steps ? g_u[place.at + cut * place.columns] : real(0);
        const real old = place.step + ref_cut < steps ? g_u[place.at + ref_cut * place.columns] : real(0);
        const real through = nu.output(old);
        const real value = flushed(slope(u) * (grad + (exact ? through : real(0))));
        const real filtered = f.output(leaving);
        f.accept(value, leaving);
        nu.accept(value, old);
        g_u[place.at] = value;
        response.store(place, f);
        refractory.store(place, nu);
        return filtered;
    }
};

struct Leaky {
    const real *keep;
    real *states;
    long long steps, neurons;
    real theta, share, drop;
    Slope slope;

    __device__ __forceinline__ real backward(const Place &place, real grad, real u) const
    {
        const bool begins = place.step == steps - 1, fires = u >= theta;
        const real later = keep[neurons + place.neuron] * state_of(states, 1, place, begins);
        const real of_spike = grad - ((1 - share) * u + drop) * later;
        const real of_voltage = flushed(slope(u) * of_spike + (fires ? share * later : later));
        const real of_current = flushed(keep[place.neuron] * state_of(states, 0, place, begins) + of_voltage);
        states[place.column] = of_current;
        states[place.columns + place.column] = of_voltage;
        return of_current;
    }
};

struct Adaptive {
    const real *keep, *h;
    real *states;
    long long steps, neurons;
    bool exact;
    real theta, rise, scale;
    Slope slope;

    __device__ __forceinline__ real backward(const Place &place, real grad, real u) const
    {
        const bool begins = place.step == steps - 1, fires = u >= theta;
        const real of_risen = state_of(states, 2, place, begins), of_held = state_of(states, 3, place, begins);
        const real through = exact ? scale * (theta + h[place.at]) * of_held + rise * of_risen : real(0);
        const real of_u = slope(u) * (grad + through);
        const real keep_i = keep[place.neuron], keep_v = keep[neurons + place.neuron];
        const real of_voltage = flushed(of_u + keep_v * state_of(states, 1, place, begins));
        const real of_current = flushed(of_voltage + keep_i * state_of(states, 0, place, begins));
        const real error_h = of_risen + (fires ? scale * of_held : real(0)) - of_u, error_r = of_held - of_u;
        const real keep_h = keep[2 * neurons + place.neuron], keep_r = keep[3 * neurons + place.neuron];
        states[place.column] = of_current;
        states[place.columns + place.column] = of_voltage;
        states[2 * place.columns + place.column] = flushed(keep_h * error_h);
        states[3 * place.columns + place.column] = flushed(keep_r * error_r);
        return of_current;
    }
};

extern "C" __global__ __launch_bounds__(THREADS) void recurrent_adjoint_srm(
    const real *__restrict__ g,  // (steps, samples, neurons), gradient of the spikes
    const real *__restrict__ u,  // (steps, samples, neurons), potential
    const real *__restrict__ w,  // (neurons, neurons), the weights transposed
    real *states,                // (4, samples, neurons), scratch
    real *g_u,                   // (steps, samples, neurons), gradient of the potential, scratch
    real *y,                     // (steps, samples, neurons), gradient of the weighted input, written and read back
    long long steps,             // time steps
    long long samples,           // samples of the batch
    long long neurons,           // neurons of the population
    long long delay,             // steps until a spike arrives
    bool exact,                  // whether the path through refraction is included
    int code,                    // the shape of the surrogate
    real theta,                  // threshold
    real steep,                  // 1 / width
    real height,                 // factor of the shape
    real a,                      // constant of the shape
    real b,                      // constant of the shape
    real decay,                  // exp(-dt / tau_sr)
    real gain,                   // amplitude e dt / tau_sr
    long long cut,               // steps until an input leaves the response; none if >= steps
    real cut_p,                  // decay^cut
    real cut_q,                  // cut decay^cut
    real ref_decay,              // exp(-dt / tau_ref)
    real ref_gain,               // amplitude e dt / tau_ref, negative
    long long ref_cut,           // steps until a spike leaves the refractory response; none if >= steps
    real ref_cut_p,              // ref_decay^ref_cut
    real ref_cut_q)              // ref_cut ref_decay^ref_cut
{
    const Filter response{decay, gain, cut_p, cut_q, states};
    const Filter refractory{ref_decay, ref_gain, ref_cut_p, ref_cut_q, states + 2 * samples * neurons};
    const Slope slope{code, theta, steep, height, a, b};
    run_backward(
        Srm{response, refractory, g_u, steps, cut, ref_cut, exact, slope}, g, u, w, y, steps, samples, neurons, delay);
}

extern "C" __global__ __launch_bounds__(THREADS) void recurrent_adjoint_leaky(
    const real *__restrict__ g,     // (steps, samples, neurons), gradient of the spikes
    const real *__restrict__ u,     // (steps, samples, neurons), voltage before the reset
    const real *__restrict__ w,     // (neurons, neurons), the weights transposed
    const real *__restrict__ keep,  // (2, neurons), shares of current and voltage that a step keeps
    real *states,                   // (2, samples, neurons), scratch
    real *y,                        // (steps, samples, neurons), gradient of the weighted input, written and read back
    long long steps,                // time steps
    long long samples,              // samples of the batch
    long long neurons,              // neurons of the population
    long long delay,                // steps until a spike arrives
    real share,                     // of the voltage that a spike leaves
    real drop,                      // what it takes from it
    int code,                       // the shape of the surrogate
    real theta,                     // threshold
    real steep,                     // 1 / width
    real height,                    // factor of the shape
    real a,                         // constant of the shape
    real b)                         // constant of the shape
{
    const Leaky kind{keep, states, steps, neurons, theta, share, drop, Slope{code, theta, steep, height, a, b}};
    run_backward(kind, g, u, w, y, steps, samples, neurons, delay);
}

extern "C" __global__ __launch_bounds__(THREADS) void recurrent_adjoint_adaptive(
    const real *__restrict__ g,     // (steps, samples, neurons), gradient of the spikes
    const real *__restrict__ u,     // (steps, samples, neurons), potential
    const real *__restrict__ h,     // (steps, samples, neurons), rise of the threshold; not accessed unless exact
    const real *__restrict__ w,     // (neurons, neurons), the weights transposed
    const real *__restrict__ keep,  // (4, neurons), shares of i, v, h and r that a step keeps
    real *states,                   // (4, samples, neurons), scratch
    real *y,                        // (steps, samples, neurons), gradient of the weighted input, written and read back
    long long steps,                // time steps
    long long samples,              // samples of the batch
    long long neurons,              // neurons of the population
    long long delay,                // steps until a spike arrives
    bool exact,                     // whether the path through adaptation is included
    real rise,                      // what a spike adds to the threshold
    real scale,                     // what a spike adds to r, in thresholds
    int code,                       // the shape of the surrogate
    real theta,                     // threshold without spikes
    real steep,                     // 1 / width
    real height,                    // factor of the shape
    real a,                         // constant of the shape
    real b)                         // constant of the shape
{
    const Slope slope{code, theta, steep, height, a, b};
    const Adaptive kind{keep, h, states, steps, neurons, exact, theta, rise, scale, slope};
    run_backward(kind, g, u, w, y, steps, samples, neurons, delay);
}

// Populations of spike response neurons, with a dense layer from their own spikes to themselves: see recurrent_loops.cuh.

#include "surrogate_shapes.cuh"
#include "recurrent_loops.cuh"

// An alpha function whose states are columns of two rows of memory.
struct Filter {
    real decay, gain, cut_p, cut_q;
    real *states;

    // Reads the states; at the first step of a sweep they are 0.
    __device__ __forceinline__ Recurrence load(const Place &place, bool begins) const
    {
        Recurrence found{decay, gain, cut_p, cut_q};
        if (!begins) {
            found.q = states[place.column];
            found.p = states[place.columns + place.column];
        }
        found.flush(place.step);
        return found;
    }

    __device__ __forceinline__ void store(const Place &place, const Recurrence &found) const
    {
        states[place.column] = found.q;
        states[place.columns + place.column] = found.p;
    }
};

struct Srm {
    Filter response, refractory;
    real *z;
    bool *s;
    long long cut, ref_cut;
    real theta;

    __device__ __forceinline__ void write(const Place &place, bool fires) const { s[place.at] = fires; }

    __device__ __forceinline__ void write_mask(long long, unsigned) const {}

    __device__ __forceinline__ real forward(const Place &place, real given, bool &fires) const
    {
        const bool begins = place.step == 0;
        Recurrence f = response.load(place, begins), nu = refractory.load(place, begins);
        const real leaving = place.step >= cut ? z[place.at - cut * place.columns] : real(0);
        const real old_spike = place.step >= ref_cut && s[place.at - ref_cut * place.columns] ? real(1) : real(0);
        const real value = f.output(leaving) + nu.output(old_spike);
        fires = value >= theta;
        f.accept(given, leaving);
        nu.accept(fires, old_spike);
        z[place.at] = given;
        response.store(place, f);
        refractory.store(place, nu);
        return value;
    }
};

extern "C" __global__ __launch_bounds__(THREADS, 1) void recurrent_srm(
    const real *__restrict__ x,  // (steps, samples, neurons), weighted input from other layers
    const real *__restrict__ w,  // (neurons, neurons), weights of what each neuron sends
    real *states,                // (4, samples, neurons), scratch
    real *z,                     // (steps, samples, neurons), weighted input, scratch
    real *u,                     // (steps, samples, neurons), potential, written
    bool *s,                     // (steps, samples, neurons), spikes, written and read back
    long long steps,             // time steps
    long long samples,           // samples of the batch
    long long neurons,           // neurons of the population
    long long delay,             // steps until a spike arrives
    real theta,                  // threshold
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
    run_forward(
        Srm{response, refractory, z, s, cut, ref_cut, theta}, x, w, u, steps, samples, neurons, delay);
}

struct SrmAdjoint {
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

extern "C" __global__ __launch_bounds__(THREADS, 1) void recurrent_adjoint_srm(
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
        SrmAdjoint{response, refractory, g_u, steps, cut, ref_cut, exact, slope}, g, u, w, y, steps, samples, neurons, delay);
}

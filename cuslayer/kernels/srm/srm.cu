// Neurons of the spike response model: potential, spikes and their gradients.
//
//   spike                 u[t] = a[t] + sum over earlier spikes f of nu[t-f],   s[t] = (u[t] >= theta)
//   neuron                the same with a = psp(x), in one pass that reads x and writes u and s once
//   spike_adjoint         g_u[t] = dt rho(u[t]) g[t]                                      gradient "slayer"
//   spike_adjoint_exact   g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])        gradient "exact"
//   neuron_adjoint, neuron_adjoint_exact   psp_adjoint of g_u, in the same pass
//
// with dt rho(u) = height exp(-|u - theta| steep). nu and the response are alpha functions, computed as recurrences.
//
// Layout: all arrays are (steps, columns), C-contiguous; s is bool.
// A thread computes one column step by step, backward in the adjoints; all states stay in registers. (In spike_adjoint,
// which is elementwise, a thread computes one element at a time.) What leaves a filter after `cut` steps is read a
// second time, mostly from the L2 cache; the last 64 spikes are kept in a register.
// Precision: `real` throughout; compiled without fused multiply-add, u and s equal the CPU's to the bit. The adjoints
// differ by the rounding of exp. Gradients of u under LEAST_STATE are 0.
// Twins: kernels/srm/cpu.py. Tests: tests/kernels/test_twins.py.

// The largest cut of the refractory response for which spikes are kept in a register.
constexpr long long REGISTER_STEPS = 64;

// The refractory response of one column, and the spike of `cut` steps ago, which leaves the response at this step. The
// last 64 spikes are the bits of a register; older ones are read from s, where they were written in an earlier batch of
// AHEAD rows.
struct Refractory {
    Recurrence nu;
    long long cut;
    unsigned long long recent = 0;
    bool written[AHEAD] = {};

    __device__ __forceinline__ void read_ahead(
        const bool *s, long long t, long long steps, long long columns, long long m)
    {
        if (cut > REGISTER_STEPS)
            read_rows<1>(written, s, t - cut, steps, columns, m);
    }

    __device__ __forceinline__ real leaving(int i) const
    {
        return cut > REGISTER_STEPS ? written[i] : recent >> (cut - 1) & 1;
    }

    __device__ __forceinline__ void accept(bool fires, real old)
    {
        nu.accept(fires, old);
        recent = recent << 1 | fires;
    }
};

extern "C" __global__ void spike(
    const real *__restrict__ a,  // (steps, columns), filtered input
    real *__restrict__ u,        // (steps, columns), potential, written
    bool *__restrict__ s,        // (steps, columns), spikes, written
    long long steps,             // time steps
    long long columns,           // neurons
    real theta,                  // threshold
    real ref_decay,              // exp(-dt / tau_ref)
    real ref_gain,               // amplitude e dt / tau_ref, negative
    long long ref_cut,           // steps until a spike leaves the refractory response; none if >= steps
    real ref_cut_p,              // ref_decay^ref_cut
    real ref_cut_q)              // ref_cut ref_decay^ref_cut
{
    GRID_STRIDE(m, columns) {
        Refractory refractory{{ref_decay, ref_gain, ref_cut_p, ref_cut_q}, ref_cut};
        for (long long t = 0; t < steps; t += AHEAD) {
            real given[AHEAD];
            read_rows<1>(given, a, t, steps, columns, m);
            refractory.read_ahead(s, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                const real old_spike = refractory.leaving(i);
                refractory.nu.flush(t + i);
                const real value = given[i] + refractory.nu.output(old_spike);
                const bool fires = value >= theta;
                refractory.accept(fires, old_spike);
                if (t + i < steps) {
                    u[(t + i) * columns + m] = value;
                    s[(t + i) * columns + m] = fires;
                }
            }
        }
    }
}

extern "C" __global__ void neuron(
    const real *__restrict__ x,  // (steps, columns), input
    real *__restrict__ u,        // (steps, columns), potential, written
    bool *__restrict__ s,        // (steps, columns), spikes, written
    long long steps,             // time steps
    long long columns,           // neurons
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
    GRID_STRIDE(m, columns) {
        Recurrence response{decay, gain, cut_p, cut_q};
        Refractory refractory{{ref_decay, ref_gain, ref_cut_p, ref_cut_q}, ref_cut};
        for (long long t = 0; t < steps; t += AHEAD) {
            real entering[AHEAD], leaving[AHEAD];
            read_rows<1>(entering, x, t, steps, columns, m);
            read_rows<1>(leaving, x, t - cut, steps, columns, m);
            refractory.read_ahead(s, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                const real old_spike = refractory.leaving(i);
                response.flush(t + i);
                refractory.nu.flush(t + i);
                const real value = response.output(leaving[i]) + refractory.nu.output(old_spike);
                const bool fires = value >= theta;
                response.accept(entering[i], leaving[i]);
                refractory.accept(fires, old_spike);
                if (t + i < steps) {
                    u[(t + i) * columns + m] = value;
                    s[(t + i) * columns + m] = fires;
                }
            }
        }
    }
}

extern "C" __global__ void spike_adjoint(
    const real *__restrict__ g,  // (size,), gradient of the spikes
    const real *__restrict__ u,  // (size,), potential
    real *__restrict__ y,        // (size,), gradient of the potential, written
    long long size,              // steps times neurons
    real theta,                  // threshold
    real steep,                  // 1 / (tau_rho theta)
    real height)                 // dt scale_rho / (tau_rho theta)
{
    GRID_STRIDE(i, size)
        y[i] = flushed(surrogate(u[i], theta, steep, height) * g[i]);
}

extern "C" __global__ void spike_adjoint_exact(
    const real *__restrict__ g,  // (steps, columns), gradient of the spikes
    const real *__restrict__ u,  // (steps, columns), potential
    real *__restrict__ y,        // (steps, columns), gradient of the potential, written
    long long steps,             // time steps
    long long columns,           // neurons
    real theta,                  // threshold
    real steep,                  // 1 / (tau_rho theta)
    real height,                 // dt scale_rho / (tau_rho theta)
    real ref_decay,              // exp(-dt / tau_ref)
    real ref_gain,               // amplitude e dt / tau_ref, negative
    long long ref_cut,           // steps until a spike leaves the refractory response; none if >= steps
    real ref_cut_p,              // ref_decay^ref_cut
    real ref_cut_q)              // ref_cut ref_decay^ref_cut
{
    // This thread has written y[t + ref_cut]: it can be read in advance unless it belongs to the current batch.
    const bool in_advance = ref_cut >= AHEAD;
    GRID_STRIDE(m, columns) {
        Recurrence nu{ref_decay, ref_gain, ref_cut_p, ref_cut_q};
        for (long long t = end_of_batch(steps - 1); t >= 0; t -= AHEAD) {
            real grad[AHEAD], potential[AHEAD], old_g_u[AHEAD];
            read_rows<-1>(grad, g, t, steps, columns, m);
            read_rows<-1>(potential, u, t, steps, columns, m);
            if (in_advance)
                read_rows<-1>(old_g_u, y, t + ref_cut, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (!in_advance)
                    old_g_u[i] = read_row(y, t - i + ref_cut, steps, columns, m);
                const real rho = surrogate(potential[i], theta, steep, height);
                nu.flush(t - i);
                const real value = flushed(rho * (grad[i] + nu.output(old_g_u[i])));
                nu.accept(value, old_g_u[i]);
                if (t - i < steps)
                    y[(t - i) * columns + m] = value;
            }
        }
    }
}

extern "C" __global__ void neuron_adjoint(
    const real *__restrict__ g,  // (steps, columns), gradient of the spikes
    const real *__restrict__ u,  // (steps, columns), potential
    real *__restrict__ y,        // (steps, columns), gradient of the input, written
    long long steps,             // time steps
    long long columns,           // neurons
    real theta,                  // threshold
    real steep,                  // 1 / (tau_rho theta)
    real height,                 // dt scale_rho / (tau_rho theta)
    real decay,                  // exp(-dt / tau_sr)
    real gain,                   // amplitude e dt / tau_sr
    long long cut,               // steps until an input leaves the response; none if >= steps
    real cut_p,                  // decay^cut
    real cut_q)                  // cut decay^cut
{
    // g_u[t + cut] is computed again from g and u: to store it would cost another write and read.
    GRID_STRIDE(m, columns) {
        Recurrence response{decay, gain, cut_p, cut_q};
        for (long long t = end_of_batch(steps - 1); t >= 0; t -= AHEAD) {
            real grad[AHEAD], potential[AHEAD], old_grad[AHEAD], old_potential[AHEAD];
            read_rows<-1>(grad, g, t, steps, columns, m);
            read_rows<-1>(potential, u, t, steps, columns, m);
            read_rows<-1>(old_grad, g, t + cut, steps, columns, m);
            read_rows<-1>(old_potential, u, t + cut, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                old_grad[i] = flushed(surrogate(old_potential[i], theta, steep, height) * old_grad[i]);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                response.flush(t - i);
                const real value = response.output(old_grad[i]);
                response.accept(flushed(surrogate(potential[i], theta, steep, height) * grad[i]), old_grad[i]);
                if (t - i < steps)
                    y[(t - i) * columns + m] = value;
            }
        }
    }
}

extern "C" __global__ void neuron_adjoint_exact(
    const real *__restrict__ g,  // (steps, columns), gradient of the spikes
    const real *__restrict__ u,  // (steps, columns), potential
    real *__restrict__ g_u,      // (steps, columns), gradient of the potential, written and read back
    real *__restrict__ y,        // (steps, columns), gradient of the input, written
    long long steps,             // time steps
    long long columns,           // neurons
    real theta,                  // threshold
    real steep,                  // 1 / (tau_rho theta)
    real height,                 // dt scale_rho / (tau_rho theta)
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
    // As in spike_adjoint_exact: read in advance unless the row belongs to the current batch.
    const bool in_advance = cut >= AHEAD;
    const bool ref_in_advance = ref_cut >= AHEAD;
    GRID_STRIDE(m, columns) {
        Recurrence response{decay, gain, cut_p, cut_q};
        Recurrence nu{ref_decay, ref_gain, ref_cut_p, ref_cut_q};
        for (long long t = end_of_batch(steps - 1); t >= 0; t -= AHEAD) {
            real grad[AHEAD], potential[AHEAD], leaving[AHEAD], old_g_u[AHEAD];
            read_rows<-1>(grad, g, t, steps, columns, m);
            read_rows<-1>(potential, u, t, steps, columns, m);
            if (in_advance)
                read_rows<-1>(leaving, g_u, t + cut, steps, columns, m);
            if (ref_in_advance)
                read_rows<-1>(old_g_u, g_u, t + ref_cut, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (!in_advance)
                    leaving[i] = read_row(g_u, t - i + cut, steps, columns, m);
                if (!ref_in_advance)
                    old_g_u[i] = read_row(g_u, t - i + ref_cut, steps, columns, m);
                const real rho = surrogate(potential[i], theta, steep, height);
                response.flush(t - i);
                nu.flush(t - i);
                const real value = flushed(rho * (grad[i] + nu.output(old_g_u[i])));
                const real filtered = response.output(leaving[i]);
                response.accept(value, leaving[i]);
                nu.accept(value, old_g_u[i]);
                if (t - i < steps) {
                    g_u[(t - i) * columns + m] = value;
                    y[(t - i) * columns + m] = filtered;
                }
            }
        }
    }
}

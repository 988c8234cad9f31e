// Spikes, and the way back through them.
//
//   spike                 u[t] = a[t] + sum over earlier spikes f of nu[t-f],   s[t] = (u[t] >= theta)
//   neuron                the same with a = psp(x), in one pass: x is read once, u and s are written once
//   spike_adjoint         g_u[t] = dt rho(u[t]) g[t]                                      gradient "slayer"
//   spike_adjoint_exact   g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])        gradient "exact"
//   neuron_adjoint, neuron_adjoint_exact   psp_adjoint of g_u, in the same sweep
//
// with dt rho(u) = height exp(-|u - theta| steep). nu and the response are alpha functions, run as recurrences.
//
// Layout: all arrays are (steps, columns), C-contiguous; s is bool.
// A thread holds one column and walks its time, backward in the adjoints; all states stay in registers. (spike_adjoint
// alone has no memory: there a thread makes one element at a time.) What leaves a filter `cut` steps later is read a
// second time, mostly from the L2 cache; of the spikes it is kept in a register where 64 steps suffice.
// Precision: `real` throughout; compiled without fused multiply-add, u and s are the CPU's to the bit. The adjoints
// differ from it by the rounding of exp, and where float exp(x) is under exp(-40), which the CPU takes for 0.
// Twins: kernels/cpu/spike.py and neuron.py. Tests: tests/kernels/test_twins.py.

// Steps that a refraction may last to be forgotten from a register.
constexpr long long REMEMBERED = 64;

__device__ __forceinline__ real surrogate(
    real u,
    real theta,
    real steep,
    real height)
{
    return height * exp(-fabs(u - theta) * steep);
}

// The refraction of one column: whether its spike of `cut` steps ago is over at this step. The last 64 spikes are the
// bits of a register; older ones are read back from s, where a batch of AHEAD rows was written long before.
struct Refraction {
    Recurrence nu;
    long long cut;
    unsigned long long recent = 0;
    bool written[AHEAD] = {};

    __device__ __forceinline__ void read_ahead(
        const bool *s,
        long long t,
        long long steps,
        long long columns,
        long long m)
    {
        if (cut > REMEMBERED)
            read_rows<1>(written, s, t - cut, steps, columns, m);
    }

    __device__ __forceinline__ real spent(int i) const
    {
        return cut > REMEMBERED ? written[i] : recent >> (cut - 1) & 1;
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
    long long ref_cut,           // steps until a spike leaves the refraction; from `steps` on, none does
    real ref_cut_p,              // ref_decay^ref_cut
    real ref_cut_q)              // ref_cut ref_decay^ref_cut
{
    GRID_STRIDE(m, columns) {
        Refraction refraction{{ref_decay, ref_gain, ref_cut_p, ref_cut_q}, ref_cut};
        for (long long t = 0; t < steps; t += AHEAD) {
            real given[AHEAD];
            read_rows<1>(given, a, t, steps, columns, m);
            refraction.read_ahead(s, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                const real spent = refraction.spent(i);
                const real value = given[i] + refraction.nu.output(spent);
                const bool fires = value >= theta;
                refraction.accept(fires, spent);
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
    long long cut,               // steps until an input leaves the response; from `steps` on, none does
    real cut_p,                  // decay^cut
    real cut_q,                  // cut decay^cut
    real ref_decay,              // exp(-dt / tau_ref)
    real ref_gain,               // amplitude e dt / tau_ref, negative
    long long ref_cut,           // steps until a spike leaves the refraction; from `steps` on, none does
    real ref_cut_p,              // ref_decay^ref_cut
    real ref_cut_q)              // ref_cut ref_decay^ref_cut
{
    GRID_STRIDE(m, columns) {
        Recurrence response{decay, gain, cut_p, cut_q};
        Refraction refraction{{ref_decay, ref_gain, ref_cut_p, ref_cut_q}, ref_cut};
        for (long long t = 0; t < steps; t += AHEAD) {
            real entering[AHEAD], leaving[AHEAD];
            read_rows<1>(entering, x, t, steps, columns, m);
            read_rows<1>(leaving, x, t - cut, steps, columns, m);
            refraction.read_ahead(s, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                const real spent = refraction.spent(i);
                const real value = response.output(leaving[i]) + refraction.nu.output(spent);
                const bool fires = value >= theta;
                response.accept(entering[i], leaving[i]);
                refraction.accept(fires, spent);
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
        y[i] = surrogate(u[i], theta, steep, height) * g[i];
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
    long long ref_cut,           // steps until a spike leaves the refraction; from `steps` on, none does
    real ref_cut_p,              // ref_decay^ref_cut
    real ref_cut_q)              // ref_cut ref_decay^ref_cut
{
    // y[t + ref_cut] is this thread's own work: it can be read ahead unless it falls within the batch at hand.
    const bool early = ref_cut >= AHEAD;
    GRID_STRIDE(m, columns) {
        Recurrence nu{ref_decay, ref_gain, ref_cut_p, ref_cut_q};
        for (long long t = steps - 1; t >= 0; t -= AHEAD) {
            real above[AHEAD], potential[AHEAD], spent[AHEAD];
            read_rows<-1>(above, g, t, steps, columns, m);
            read_rows<-1>(potential, u, t, steps, columns, m);
            if (early)
                read_rows<-1>(spent, y, t + ref_cut, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (!early)
                    spent[i] = read_row(y, t - i + ref_cut, steps, columns, m);
                const real rho = surrogate(potential[i], theta, steep, height);
                const real value = rho * (above[i] + nu.output(spent[i]));
                nu.accept(value, spent[i]);
                if (t - i >= 0)
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
    long long cut,               // steps until an input leaves the response; from `steps` on, none does
    real cut_p,                  // decay^cut
    real cut_q)                  // cut decay^cut
{
    // g_u[t + cut] is made a second time from g and u: an array to keep it in would cost a write and a read more.
    GRID_STRIDE(m, columns) {
        Recurrence response{decay, gain, cut_p, cut_q};
        for (long long t = steps - 1; t >= 0; t -= AHEAD) {
            real above[AHEAD], potential[AHEAD], old_above[AHEAD], old_potential[AHEAD];
            read_rows<-1>(above, g, t, steps, columns, m);
            read_rows<-1>(potential, u, t, steps, columns, m);
            read_rows<-1>(old_above, g, t + cut, steps, columns, m);
            read_rows<-1>(old_potential, u, t + cut, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                const real leaving = surrogate(old_potential[i], theta, steep, height) * old_above[i];
                const real value = response.output(leaving);
                response.accept(surrogate(potential[i], theta, steep, height) * above[i], leaving);
                if (t - i >= 0)
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
    long long cut,               // steps until an input leaves the response; from `steps` on, none does
    real cut_p,                  // decay^cut
    real cut_q,                  // cut decay^cut
    real ref_decay,              // exp(-dt / tau_ref)
    real ref_gain,               // amplitude e dt / tau_ref, negative
    long long ref_cut,           // steps until a spike leaves the refraction; from `steps` on, none does
    real ref_cut_p,              // ref_decay^ref_cut
    real ref_cut_q)              // ref_cut ref_decay^ref_cut
{
    // As in spike_adjoint_exact: read ahead unless the row falls within the batch at hand.
    const bool early = cut >= AHEAD;
    const bool ref_early = ref_cut >= AHEAD;
    GRID_STRIDE(m, columns) {
        Recurrence response{decay, gain, cut_p, cut_q};
        Recurrence nu{ref_decay, ref_gain, ref_cut_p, ref_cut_q};
        for (long long t = steps - 1; t >= 0; t -= AHEAD) {
            real above[AHEAD], potential[AHEAD], leaving[AHEAD], spent[AHEAD];
            read_rows<-1>(above, g, t, steps, columns, m);
            read_rows<-1>(potential, u, t, steps, columns, m);
            if (early)
                read_rows<-1>(leaving, g_u, t + cut, steps, columns, m);
            if (ref_early)
                read_rows<-1>(spent, g_u, t + ref_cut, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (!early)
                    leaving[i] = read_row(g_u, t - i + cut, steps, columns, m);
                if (!ref_early)
                    spent[i] = read_row(g_u, t - i + ref_cut, steps, columns, m);
                const real rho = surrogate(potential[i], theta, steep, height);
                const real value = rho * (above[i] + nu.output(spent[i]));
                const real filtered = response.output(leaving[i]);
                response.accept(value, leaving[i]);
                nu.accept(value, spent[i]);
                if (t - i >= 0) {
                    g_u[(t - i) * columns + m] = value;
                    y[(t - i) * columns + m] = filtered;
                }
            }
        }
    }
}

// Neurons of the spike response model: potential, spikes and their gradients; and their response alone, as a filter.
//
//   psp                   a[t] = sum_k eps[k] x[t-k]
//   psp_adjoint           y[t] = sum_k eps[k] g[t+k]
//   spike                 u[t] = a[t] + sum over earlier spikes f of nu[t-f],   s[t] = (u[t] >= theta)
//   neuron                the same with a = psp(x), in one pass that reads x and writes u and s once
//   neuron_adjoint        psp_adjoint of g_u[t] = dt rho(u[t]) g[t]                                    gradient "slayer"
//   neuron_adjoint_exact  psp_adjoint of g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])      gradient "exact"
//
// with dt rho(u) = height exp(-|u - theta| steep). nu and the response are alpha functions, computed as recurrences:
// srm_forward and srm_backward of common.cuh. The adjoints of `spike` are in surrogate.cu.
//
// Layout: all arrays are (steps, columns), C-contiguous; s is bool.
// A thread computes one column step by step, backward in the adjoints; all states stay in registers. What leaves a filter
// after `cut` steps is read a second time, mostly from the L2 cache; the last 64 spikes are kept in a register.
// Precision: `real` throughout; compiled without fused multiply-add, a, y of psp_adjoint, u and s equal the CPU's to the
// bit. The other adjoints differ by the rounding of exp. Gradients of u under LEAST_STATE are 0.
// Filters are __grid_constant__ where that takes fewer registers.
// Twins: kernels/srm/cpu.py. Tests: tests/kernels/test_twins.py.

template <int direction>
__device__ __forceinline__ void filter(
    const real *__restrict__ x, real *__restrict__ a, long long steps, long long columns, long long m, const Filter &response)
{
    Recurrence f = recurrence_of(response);
    const long long start = direction > 0 ? 0 : end_of_batch(steps - 1);
    for (long long k = 0; k < steps; k += AHEAD) {
        const long long t = start + direction * k;
        real entering[AHEAD], leaving[AHEAD];
        read_rows<direction>(entering, x, t, steps, columns, m);
        read_rows<direction>(leaving, x, t - direction * response.cut, steps, columns, m);
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            const real value = f.step(t + direction * i, entering[i], leaving[i]);
            if (t + direction * i < steps)
                a[(t + direction * i) * columns + m] = value;
        }
    }
}

extern "C" __global__ void psp(
    const real *__restrict__ x,  // (steps, columns)
    real *__restrict__ a,        // (steps, columns), written
    long long steps,             // time steps
    long long columns,           // signals
    const __grid_constant__ Filter response)
{
    GRID_STRIDE(m, columns)
        filter<1>(x, a, steps, columns, m, response);
}

extern "C" __global__ void psp_adjoint(
    const real *__restrict__ g,  // (steps, columns)
    real *__restrict__ y,        // (steps, columns), written
    long long steps,             // time steps
    long long columns,           // signals
    const Filter response)
{
    GRID_STRIDE(m, columns)
        filter<-1>(g, y, steps, columns, m, response);
}

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

    __device__ __forceinline__ void remember(bool fires) { recent = recent << 1 | fires; }
};

template <bool filters>
__device__ __forceinline__ void fire(
    const real *__restrict__ x, real *__restrict__ u, bool *__restrict__ s, long long steps, long long columns, real theta,
    const Filter &response, const Filter &ref)
{
    GRID_STRIDE(m, columns) {
        Recurrence f = recurrence_of(response);
        Refractory refractory{recurrence_of(ref), ref.cut};
        for (long long t = 0; t < steps; t += AHEAD) {
            real entering[AHEAD], leaving[AHEAD] = {};
            read_rows<1>(entering, x, t, steps, columns, m);
            if (filters)
                read_rows<1>(leaving, x, t - response.cut, steps, columns, m);
            refractory.read_ahead(s, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                bool fires;
                const real old = refractory.leaving(i);
                const real value = srm_forward<filters>(f, refractory.nu, t + i, theta, entering[i], leaving[i], old, fires);
                refractory.remember(fires);
                if (t + i < steps) {
                    u[(t + i) * columns + m] = value;
                    s[(t + i) * columns + m] = fires;
                }
            }
        }
    }
}

extern "C" __global__ void spike(
    const real *__restrict__ a,  // (steps, columns), filtered input
    real *__restrict__ u,        // (steps, columns), potential, written
    bool *__restrict__ s,        // (steps, columns), spikes, written
    long long steps,             // time steps
    long long columns,           // neurons
    real theta,                  // threshold
    const Filter refractory)
{
    fire<false>(a, u, s, steps, columns, theta, {}, refractory);
}

extern "C" __global__ void neuron(
    const real *__restrict__ x,  // (steps, columns), input
    real *__restrict__ u,        // (steps, columns), potential, written
    bool *__restrict__ s,        // (steps, columns), spikes, written
    long long steps,             // time steps
    long long columns,           // neurons
    real theta,                  // threshold
    const Filter response,
    const Filter refractory)
{
    fire<true>(x, u, s, steps, columns, theta, response, refractory);
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
    const Filter response)
{
    // g_u[t + cut] is computed again from g and u: to store it would cost another write and read.
    GRID_STRIDE(m, columns) {
        Recurrence f = recurrence_of(response);
        for (long long t = end_of_batch(steps - 1); t >= 0; t -= AHEAD) {
            real grad[AHEAD], potential[AHEAD], old_grad[AHEAD], old_potential[AHEAD];
            read_rows<-1>(grad, g, t, steps, columns, m);
            read_rows<-1>(potential, u, t, steps, columns, m);
            read_rows<-1>(old_grad, g, t + response.cut, steps, columns, m);
            read_rows<-1>(old_potential, u, t + response.cut, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                old_grad[i] = flushed(surrogate(old_potential[i], theta, steep, height) * old_grad[i]);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                const real of_u = flushed(surrogate(potential[i], theta, steep, height) * grad[i]);
                const real value = f.step(t - i, of_u, old_grad[i]);
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
    const Filter response,
    const Filter refractory)
{
    // This thread has written g_u[t + cut]: it can be read in advance unless it belongs to the current batch.
    const bool in_advance = response.cut >= AHEAD, ref_in_advance = refractory.cut >= AHEAD;
    GRID_STRIDE(m, columns) {
        Recurrence f = recurrence_of(response), nu = recurrence_of(refractory);
        for (long long t = end_of_batch(steps - 1); t >= 0; t -= AHEAD) {
            real grad[AHEAD], potential[AHEAD], leaving[AHEAD], old[AHEAD];
            read_rows<-1>(grad, g, t, steps, columns, m);
            read_rows<-1>(potential, u, t, steps, columns, m);
            if (in_advance)
                read_rows<-1>(leaving, g_u, t + response.cut, steps, columns, m);
            if (ref_in_advance)
                read_rows<-1>(old, g_u, t + refractory.cut, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                if (!in_advance)
                    leaving[i] = read_row(g_u, t - i + response.cut, steps, columns, m);
                if (!ref_in_advance)
                    old[i] = read_row(g_u, t - i + refractory.cut, steps, columns, m);
                real value;
                const real rho = surrogate(potential[i], theta, steep, height);
                const real filtered = srm_backward(f, nu, t - i, rho, grad[i], leaving[i], old[i], value);
                if (t - i < steps) {
                    g_u[(t - i) * columns + m] = value;
                    y[(t - i) * columns + m] = filtered;
                }
            }
        }
    }
}

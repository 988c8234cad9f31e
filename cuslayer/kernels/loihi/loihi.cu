// The neuron of Intel's Loihi: a current and a voltage in fixed point, both saturating at 24 bits, sign included.
//
//   loihi   i[t] = sgn(i) ((|i| i_keep) >> 12) + rint(gain x[t])
//           v[t] = sgn(v) ((|v| v_keep) >> 12) + i[t],   0 for `hold` bins after a spike
//           s[t] = (v[t] > theta), and v is reset to 0 after it
//
// u is v before the reset; if mark is not 0, u is mark at a spike.
// The gradient is spike_adjoint (srm.cu), then fir_adjoint (response.cu) with the samples of the response: the sum over
// a hundred taps is bound by arithmetic, and a single kernel would compute the surrogate's exp again for every tap.
//
// Layout: all arrays are (steps, columns), C-contiguous; s is bool.
// A thread computes one column step by step; its states stay in registers.
// Precision: integers in `real`. None is larger than 2^24, so that float32 represents each of them exactly; both types
// equal the CPU's results and integer arithmetic to the bit.
// Twin: kernels/loihi/cpu.py. Tests: tests/kernels/test_twins_loihi.py.

constexpr real UNIT = 4096;           // decays are multiples of 1 / 2^12
constexpr real SHARE = real(1) / UNIT;
constexpr real MOST = (1 << 23) - 1;  // the largest state

// sgn(state) ((|state| keep) >> 12). The product has 35 bits: the upper and lower 12 bits are multiplied separately.
__device__ __forceinline__ real decayed(real state, real keep)
{
    const real upper = trunc(state * SHARE);
    const real lower = state - upper * UNIT;
    return upper * keep + trunc(lower * keep * SHARE);
}

// Clips a state; NaN becomes the smallest state.
__device__ __forceinline__ real saturated(real state)
{
    return state > MOST ? MOST : state >= -MOST ? state : -MOST;
}

extern "C" __global__ void loihi(
    const real *__restrict__ x,  // (steps, columns), weighted input
    real *__restrict__ u,        // (steps, columns), voltage for the surrogate, written
    bool *__restrict__ s,        // (steps, columns), spikes, written
    long long steps,             // time steps
    long long columns,           // neurons
    long long first,             // the first bin that has an effect
    real gain,                   // 2^(6 + wgt_exp)
    real i_keep,                 // 4096 - i_decay
    real v_keep,                 // 4096 - v_decay
    real theta,                  // threshold
    real hold,                   // bins after a spike in which v stays 0
    real mark)                   // u at a spike; 0: v
{
    GRID_STRIDE(m, columns) {
        real current = 0, voltage = 0, held = 0;
        for (long long t = 0; t < steps; t += AHEAD) {
            real entering[AHEAD];
            read_rows<1>(entering, x, t, steps, columns, m);
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                const bool counts = t + i >= first;
                const real drive = counts ? rint(entering[i] * gain) : real(0);
                current = saturated(decayed(current, i_keep) + drive);
                const real free = saturated(decayed(voltage, v_keep) + current);
                const real value = held > 0 ? real(0) : free;
                const bool fires = value > theta;
                voltage = fires ? real(0) : value;
                held = fires ? hold : held - 1;
                if (t + i < steps) {
                    u[(t + i) * columns + m] = fires && mark != 0 ? mark : value;
                    s[(t + i) * columns + m] = fires;
                }
            }
        }
    }
}

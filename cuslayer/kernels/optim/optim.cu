// One step of an optimizer, in place.
//
//   sgd    v = momentum v + g + decay w,   w -= rate v
//   adam   with g' = g + decay w:
//          m = beta1 m + (1 - beta1) g',   v = beta2 v + (1 - beta2) g'^2,
//          w -= (rate_m m + rate_g g') / (sqrt(v) scale_v + eps)
//          with keep_peak (AMSGrad), the largest v so far, peak, replaces v. The rates include the bias corrections;
//          rate_g is 0 except for NAdam.
//
// Layout: all arrays are (size,), C-contiguous. A thread computes one element at a time.
// Precision: `real` throughout, square root and division correctly rounded; compiled without fused multiply-add, the
// results equal the CPU's to the bit.
// Twins: kernels/optim/cpu.py. Tests: tests/kernels/test_twins.py.

extern "C" __global__ void sgd(
    real *__restrict__ w,        // (size,), weights, updated
    const real *__restrict__ g,  // (size,), gradient
    real *__restrict__ v,        // (size,), velocity, updated
    long long size,              // weights
    real rate,                   // learning rate
    real momentum,               // decay rate of the velocity
    real decay)                  // weight decay
{
    GRID_STRIDE(j, size) {
        const real velocity = momentum * v[j] + (g[j] + decay * w[j]);
        v[j] = velocity;
        w[j] -= rate * velocity;
    }
}

extern "C" __global__ void adam(
    real *__restrict__ w,        // (size,), weights, updated
    const real *__restrict__ g,  // (size,), gradient
    real *__restrict__ m,        // (size,), mean of the gradient, updated
    real *__restrict__ v,        // (size,), mean of the squared gradient, updated
    real *peak,                  // (size,), largest v so far, updated; any array, not accessed, without keep_peak
    long long size,              // weights
    bool keep_peak,              // AMSGrad
    real beta1,                  // decay rate of m
    real beta2,                  // decay rate of v
    real rate_m,                 // learning rate of the mean, bias corrected
    real rate_g,                 // learning rate of the gradient itself
    real scale_v,                // bias correction of sqrt(v)
    real eps,                    // added to the divisor
    real decay)                  // weight decay
{
    GRID_STRIDE(j, size) {
        const real slope = g[j] + decay * w[j];
        const real mean = beta1 * m[j] + (real(1) - beta1) * slope;
        real square = beta2 * v[j] + (real(1) - beta2) * (slope * slope);
        m[j] = mean;
        v[j] = square;
        if (keep_peak) {
            square = square > peak[j] ? square : peak[j];
            peak[j] = square;
        }
        w[j] -= (rate_m * mean + rate_g * slope) / (sqrt(square) * scale_v + eps);
    }
}

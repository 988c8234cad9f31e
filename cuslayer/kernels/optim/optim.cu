// One step of an optimizer, in place.
//
//   sgd    v = momentum v + g + decay w,   w -= rate v
//   adam   with g' = g + decay w:
//          m = beta1 m + (1 - beta1) g',   v = beta2 v + (1 - beta2) g'^2,
//          w -= (rate_m m + rate_g g') / (sqrt(v) scale_v + eps)
//          where keep_peak (AMSGrad) puts the largest v so far, peak, in the place of v. The rates hold the corrections
//          of the bias; rate_g is 0 except for NAdam.
//
// Layout: all arrays hold `size` numbers, C-contiguous. A thread makes one element at a time.
// Precision: `real` throughout, square root and division rounded correctly; compiled without fused multiply-add, the
// results are the CPU's to the bit.
// Twins: kernels/cpu/optim.py. Tests: tests/kernels/test_twins.py.

extern "C" __global__ void sgd(
    real *__restrict__ w,        // (size,), weights, moved
    const real *__restrict__ g,  // (size,), gradient
    real *__restrict__ v,        // (size,), velocity, updated
    long long size,              // weights
    real rate,                   // learning rate
    real momentum,               // share of the velocity that is kept
    real decay)                  // weight decay
{
    GRID_STRIDE(j, size) {
        const real velocity = momentum * v[j] + (g[j] + decay * w[j]);
        v[j] = velocity;
        w[j] -= rate * velocity;
    }
}

extern "C" __global__ void adam(
    real *__restrict__ w,        // (size,), weights, moved
    const real *__restrict__ g,  // (size,), gradient
    real *__restrict__ m,        // (size,), mean of the gradient, updated
    real *__restrict__ v,        // (size,), mean of its square, updated
    real *peak,                  // (size,), largest v so far, updated; untouched, and any array, without keep_peak
    long long size,              // weights
    bool keep_peak,              // AMSGrad
    real beta1,                  // share of m that is kept
    real beta2,                  // share of v that is kept
    real rate_m,                 // learning rate of the mean, bias corrected
    real rate_g,                 // learning rate of the gradient itself
    real scale_v,                // correction of the bias of sqrt(v)
    real eps,                    // least divisor
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

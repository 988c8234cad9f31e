// Numbers as float16, which keeps potentials for backward at half the memory.
//
//   store_float16   half[i] = x[i], by the rules of `to_float16` in kernels/cuda/common.cuh
//
// Precision: the bits of the CPU's twin, whether subnormal numbers are flushed or not.
// Twin: kernels/float16/cpu.py. Tests: tests/neurons/test_potential.py, tests/kernels/test_twins.py.

extern "C" __global__ void store_float16(
    const real *__restrict__ x,    // (count,), numbers
    float16 *__restrict__ half,    // (count,), written
    long long count)               // numbers
{
    GRID_STRIDE(i, count)
        half[i] = to_float16(x[i]);
}

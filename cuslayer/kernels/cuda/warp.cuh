// A warp: its lanes, and sums over them.

constexpr int LANES = 32;
constexpr unsigned ALL_LANES = 0xFFFFFFFF;

// The sum over a warp, in a fixed order; lane 0 has it.
__device__ __forceinline__ double warp_sum(double value)
{
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        value += __shfl_down_sync(ALL_LANES, value, distance);
    return value;
}

// The numbers by which batch normalization maps a channel: kernels/norm/scaling.py on the CPU.

// How each channel is scaled; kind 0: not, 1: by a power of two, 2: by the standard deviation.
struct Scaling {
    int kind;
    real height;
    real eps;
    real least, most;
};
constexpr int POWER = 1, STD = 2;

// 2^e, exactly; e is from -126 to 127.
__device__ __forceinline__ float power_of_two(int e, float)
{
    return __int_as_float((e + 127) << 23);
}

__device__ __forceinline__ double power_of_two(int e, double)
{
    return __longlong_as_double((e + 1023LL) << 52);
}

// y = (x - centre) factor + added. The factor is the gain or the height, divided by the divisor.
struct Scale {
    real centre, divisor, factor, added;

    __device__ __forceinline__ Scale(
        const Scaling &scaling, real var, real subtracted, const real *__restrict__ gain, const real *__restrict__ offset)
        : centre(subtracted), divisor(1), added(offset ? *offset : real(0))
    {
        if (scaling.kind == STD) {
            divisor = sqrt(var + scaling.eps);
        } else if (scaling.kind == POWER) {
            // The ceiling of the binary logarithm of the standard deviation, which lies between -64 and 64.
            const real exponent = 64 - trunc(64 - log(var + scaling.eps) / real(2 * 0.693147180559945309417));
            const real kept = exponent < scaling.least ? scaling.least : exponent > scaling.most ? scaling.most : exponent;
            divisor = kept == kept ? power_of_two(int(kept), real(0)) : kept;
        }
        factor = (gain ? *gain : scaling.kind ? scaling.height : real(1)) / divisor;
    }

    __device__ __forceinline__ real operator()(real x) const
    {
        return (x - centre) * factor + added;
    }
};

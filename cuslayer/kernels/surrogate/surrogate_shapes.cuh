// The surrogate gradient of every shape: slopes of kernels/surrogate/cpu.py.

// exp(x) for x <= 0. In float, 0 replaces it for x < -40, as on the CPU.
__device__ __forceinline__ real exp_of_negative(real x)
{
    return sizeof(real) == 4 && !(x >= -40) ? real(0) : exp(x);
}

// SurrogateNumbers of kernels/constants.py.
struct Surrogate {
    int code;
    real theta, steep, height, a, b;
};

// A surrogate gradient times the time step, dt rho(u) = height f((u - theta) steep); NaN for u that is not finite. If
// `exponential` is true, the shape is the exponential, and no other is compiled.
template <bool exponential>
struct Slope : Surrogate {
    __device__ __forceinline__ real operator()(real u) const
    {
        if (exponential || code == 0)
            return surrogate(u, theta, steep, height);
        const real z = (u - theta) * steep;
        return height * shape(z) + (z - z);
    }

    __device__ __forceinline__ real shape(real z) const
    {
        const real size = fabs(z);
        if (code == 1)
            return 1 / ((1 + size) * (1 + size));
        if (code == 2)
            return 1 / (1 + z * z);
        if (code == 3)
            return size < 1 ? 1 - size : real(0);
        if (code == 5)
            return size <= 1 ? real(1) : real(0);
        const real middle = exp_of_negative(real(-0.5) * (z * z));
        if (code == 4)
            return middle;
        const real narrow = real(0.5) / (b * b);
        const real sides = exp_of_negative(-narrow * ((z - 1) * (z - 1))) + exp_of_negative(-narrow * ((z + 1) * (z + 1)));
        return (1 + a) * middle - a / b * sides;
    }
};

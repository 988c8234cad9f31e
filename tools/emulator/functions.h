// CUDA's functions of numbers and bits.
//
// Those named ..._rn round to nearest, as the CPU does. __expf, __logf and __fdividef are less exact on a GPU than here.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

using std::abs;
using std::ceil;
using std::cos;
using std::exp;
using std::exp2;
using std::expm1;
using std::fabs;
using std::floor;
using std::fma;
using std::fmax;
using std::fmin;
using std::fmod;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::log;
using std::log1p;
using std::log2;
using std::pow;
using std::rint;
using std::round;
using std::sin;
using std::sqrt;
using std::tanh;
using std::trunc;

inline float rsqrt(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float rsqrtf(float x) { return rsqrt(x); }

template <typename One, typename Other>
inline std::common_type_t<One, Other> min(One a, Other b)
{
    if constexpr (std::is_floating_point_v<std::common_type_t<One, Other>>)
        return std::fmin(a, b);
    else
        return std::common_type_t<One, Other>(b) < std::common_type_t<One, Other>(a) ? b : a;
}

template <typename One, typename Other>
inline std::common_type_t<One, Other> max(One a, Other b)
{
    if constexpr (std::is_floating_point_v<std::common_type_t<One, Other>>)
        return std::fmax(a, b);
    else
        return std::common_type_t<One, Other>(a) < std::common_type_t<One, Other>(b) ? b : a;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }

inline unsigned __brev(unsigned x)
{
    x = (x & 0x55555555) << 1 | (x >> 1 & 0x55555555);
    x = (x & 0x33333333) << 2 | (x >> 2 & 0x33333333);
    x = (x & 0x0f0f0f0f) << 4 | (x >> 4 & 0x0f0f0f0f);
    return __builtin_bswap32(x);
}

inline unsigned long long __brevll(unsigned long long x)
{
    return static_cast<unsigned long long>(__brev(x)) << 32 | __brev(x >> 32);
}

// Byte i of the result is byte (selector >> 4 i) & 7 of x (0 to 3) and y (4 to 7).
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector)
{
    const std::uint64_t both = static_cast<std::uint64_t>(y) << 32 | x;
    unsigned result = 0;
    for (unsigned i = 0; i < 4; ++i)
        result |= (both >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return result;
}

// The upper word of high:low, shifted to the left, and the lower word, shifted to the right; by the shift modulo 32, or
// clamped to 32 (..c).
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return (static_cast<std::uint64_t>(high) << 32 | low) << (shift & 31) >> 32;
}

inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return (static_cast<std::uint64_t>(high) << 32 | low) >> (shift & 31);
}

inline unsigned __funnelshift_lc(unsigned low, unsigned high, unsigned shift)
{
    return shift < 32 ? __funnelshift_l(low, high, shift) : low;
}

inline unsigned __funnelshift_rc(unsigned low, unsigned high, unsigned shift)
{
    return shift < 32 ? __funnelshift_r(low, high, shift) : high;
}

inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dsub_rn(double x, double y) { return x - y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline double __drcp_rn(double x) { return 1 / x; }
inline double __dsqrt_rn(double x) { return std::sqrt(x); }
inline double __fma_rn(double x, double y, double z) { return std::fma(x, y, z); }

inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return std::fmin(std::fmax(x, 0.0f), 1.0f); }

namespace emulator {

template <typename To, typename From>
inline To same_bits(From x)
{
    static_assert(sizeof(To) == sizeof(From));
    To y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}

// A number of floating point as the nearest integer of a type, or the end of its range; 0 for NaN.
template <typename Integer, typename Real>
inline Integer saturated(Real x)
{
    constexpr Integer most = std::is_signed_v<Integer> ? Integer(~0ull >> (65 - 8 * sizeof(Integer))) : Integer(~0ull);
    constexpr Integer least = std::is_signed_v<Integer> ? Integer(-most - 1) : Integer(0);
    if (std::isnan(x))
        return 0;
    return x >= static_cast<Real>(most) ? most : x <= static_cast<Real>(least) ? least : static_cast<Integer>(x);
}

}  // namespace emulator

inline unsigned __float_as_uint(float x) { return emulator::same_bits<unsigned>(x); }
inline int __float_as_int(float x) { return emulator::same_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return emulator::same_bits<float>(x); }
inline float __int_as_float(int x) { return emulator::same_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulator::same_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulator::same_bits<double>(x); }

// Conversions to integers round to nearest even, down, up or to zero.
inline int __float2int_rn(float x) { return emulator::saturated<int>(std::nearbyint(x)); }
inline int __float2int_rd(float x) { return emulator::saturated<int>(std::floor(x)); }
inline int __float2int_ru(float x) { return emulator::saturated<int>(std::ceil(x)); }
inline int __float2int_rz(float x) { return emulator::saturated<int>(std::trunc(x)); }
inline unsigned __float2uint_rn(float x) { return emulator::saturated<unsigned>(std::nearbyint(x)); }
inline unsigned __float2uint_rz(float x) { return emulator::saturated<unsigned>(std::trunc(x)); }
inline long long __float2ll_rn(float x) { return emulator::saturated<long long>(std::nearbyint(x)); }
inline long long __double2ll_rn(double x) { return emulator::saturated<long long>(std::nearbyint(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

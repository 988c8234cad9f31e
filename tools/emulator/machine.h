// What the C++ that ptx.py makes of a kernel calls: memory and waiting, which memory.cpp and threads.cpp implement, and
// instructions that C++ has no operator for.

#pragma once

#include <cstdint>
#include <limits>

// The compiler decides about other functions one by one, and reads longer headers for each kernel: for minutes.
#define INLINE __attribute__((always_inline)) inline

namespace machine {

constexpr unsigned WARP = 32;

struct Three {
    unsigned x = 1, y = 1, z = 1;
};

// Where the running thread is.
extern Three tid, ctaid, ntid, nctaid;
extern unsigned threads;  // of a block

unsigned lane();
// The lanes with which the warp began.
unsigned lanes();

// Ends the pass. The message goes on from "thread 3 of block 0 "; #6 in it stands for the instruction of site 6.
[[noreturn]] void refuse(const char *format, ...);

// Memory. Each function refuses an access of the running thread to what is not its own to touch, or not yet, and returns
// where the bytes are. A site is the number of an instruction.

enum Access { READ, READ_ONLY, WRITE, ATOMIC };

char *at_global(std::uint64_t address, unsigned size, Access access, unsigned site);
char *at_shared(std::uint64_t offset, unsigned size, Access access, unsigned site);
char *at_generic(std::uint64_t address, unsigned size, Access access, unsigned site);

// Where shared memory begins among generic addresses.
extern std::uint64_t shared_window;

inline const char *parameter(const char *parameters, std::uint64_t offset, unsigned size, unsigned bytes)
{
    if (offset + size > bytes || offset % size)
        refuse("reads byte %llu of %u bytes of parameters", static_cast<unsigned long long>(offset), bytes);
    return parameters + offset;
}

#define ATOMIC_OPERATION(name, ...)                     \
    template <typename T>                               \
    INLINE T atomic_##name(char *place, T one, T two = T()) \
    {                                                   \
        T &now = *reinterpret_cast<T *>(place);         \
        const T old = now;                              \
        now = __VA_ARGS__;                              \
        return old;                                     \
    }
ATOMIC_OPERATION(add, old + one)
ATOMIC_OPERATION(min, old < one ? old : one)
ATOMIC_OPERATION(max, old < one ? one : old)
ATOMIC_OPERATION(and, old & one)
ATOMIC_OPERATION(or, old | one)
ATOMIC_OPERATION(xor, old ^ one)
ATOMIC_OPERATION(exch, one)
ATOMIC_OPERATION(cas, old == one ? two : old)
#undef ATOMIC_OPERATION

// From here on, what one block wrote may be another's to read.
void fence();

// Waiting

enum Wait { BLOCK, SYNC, VOTE, SHUFFLE_IDX, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BFLY };

// What the lanes of a warp brought to an instruction, and which of them came.
struct Exchange {
    unsigned lanes;
    std::uint32_t values[WARP];
};

struct Vote {
    unsigned lanes, ballot;
};

// Waits for the threads of the block; returns how many brought a predicate that holds.
unsigned wait_for_block(unsigned site, bool predicate);

// Waits for the lanes of a mask, of those that have not ended.
const Exchange &wait_for_warp(unsigned site, Wait wait, std::uint32_t mask, std::uint32_t value);

Vote vote(unsigned site, std::uint32_t mask, bool predicate);
std::uint32_t shuffle(
    unsigned site, Wait kind, std::uint32_t mask, std::uint32_t value, std::uint32_t by, std::uint32_t clamp, bool &valid);

// Floating point

INLINE float flushed(float x)
{
    // Without a branch: a kernel has thousands of these. Its exponent is 0, or all bits stay.
    const auto bits = __builtin_bit_cast(std::uint32_t, x);
    return __builtin_bit_cast(float, bits & (-std::uint32_t((bits & 0x7F800000u) != 0) | 0x80000000u));
}

float fma_down(float a, float b, float c);

// The result of an approximate instruction: rounded, or up to two units in the last place beside it.
float near(double exact);

INLINE float reciprocal(float x)
{
    return near(1 / double(x));
}

// Of a double, the upper half alone is read, and written; a subnormal one is 0.
INLINE double reciprocal(double x)
{
    const auto upper = [](double y) {
        uint64_t bits;
        __builtin_memcpy(&bits, &y, 8);
        bits = (bits >> 52 & 0x7ff ? bits : bits & 1ull << 63) & ~0xffffffffull;
        __builtin_memcpy(&y, &bits, 8);
        return y;
    };
    return upper(1 / upper(x));
}

// -0 is less than 0, and a number less than NaN.
template <typename T>
INLINE T least(T a, T b)
{
    if (__builtin_isnan(a) || __builtin_isnan(b))
        return __builtin_isnan(a) ? b : a;
    return a < b || (a == b && __builtin_signbit(a)) ? a : b;
}

template <typename T>
INLINE T saturated(T x)
{
    return x > 1 ? T(1) : x > 0 ? x : T(0);
}

// A whole number as an integer: the nearest that there is; of NaN 0, or with 64 bits on either side the highest bit.
template <typename Integer, typename T>
INLINE Integer clamped(T x)
{
    using Limits = std::numeric_limits<Integer>;
    if (__builtin_isnan(x))
        return sizeof(T) == 8 || sizeof(Integer) == 8 ? Integer(uint64_t(1) << (8 * sizeof(Integer) - 1)) : Integer(0);
    const T end = 2 * T(Limits::max() / 2 + 1);
    return x >= end ? Limits::max() : x < T(Limits::min()) ? Limits::min() : static_cast<Integer>(x);
}

// Integers

using s128 = __int128;
using u128 = unsigned __int128;

template <typename T>
INLINE T quotient(T a, T b)
{
    if (b == 0)
        refuse("divides by 0");
    // Of the least number, -1 is a divisor that C++ leaves out.
    return b == T(-1) && T(-1) < 0 ? T(0 - std::uint64_t(a)) : a / b;
}

template <typename T>
INLINE T remainder(T a, T b)
{
    return b == T(-1) && T(-1) < 0 ? T(0) : T(a - quotient(a, b) * b);
}

template <typename T>
INLINE T shl(T x, std::uint32_t by)
{
    return by < 8 * sizeof x ? T(x << by) : T(0);
}

template <typename T>
INLINE T shr(T x, std::uint32_t by)
{
    constexpr std::uint32_t most = 8 * sizeof x - 1;
    return by <= most ? T(x >> by) : x < 0 ? T(-1) : T(0);
}

template <typename T>
INLINE std::uint32_t leading_zeros(T x)
{
    return x ? __builtin_clzll(x) - (64 - 8 * sizeof x) : 8 * sizeof x;
}

template <typename T>
INLINE std::uint32_t highest(T x)
{
    return x ? 8 * sizeof x - 1 - leading_zeros(x) : ~0u;
}

template <typename T>
INLINE std::uint32_t shift_amount(T x)
{
    return x ? leading_zeros(x) : ~0u;
}

template <typename T>
INLINE T reversed(T x)
{
    T result = 0;
    for (unsigned i = 0; i < 8 * sizeof x; ++i)
        result = T(result << 1) | (x >> i & 1);
    return result;
}

template <typename T>
INLINE T bits(std::uint32_t begin, std::uint32_t count)
{
    return shl(T(~shl(T(~T(0)), count & 255)), begin & 255);
}

template <typename T>
INLINE T bfi(T inserted, T x, std::uint32_t begin, std::uint32_t count)
{
    const T mask = bits<T>(begin, count);
    return (x & ~mask) | (shl(inserted, begin & 255) & mask);
}

INLINE std::uint32_t permuted(std::uint32_t low, std::uint32_t high, std::uint32_t choice)
{
    const std::uint64_t both = std::uint64_t(high) << 32 | low;
    std::uint32_t result = 0;
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned which = choice >> 4 * i & 15;
        const auto byte = static_cast<std::uint8_t>(both >> 8 * (which & 7));
        result |= std::uint32_t(which < 8 ? byte : byte >> 7 ? 255 : 0) << 8 * i;
    }
    return result;
}

}  // namespace machine

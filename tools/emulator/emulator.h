// What the kernels use of CUDA, for a compiler of C++17 on the CPU. tools/emulator/build.py puts it in front of them.
//
// Left out: __device__ variables that are not const, and everything not named here. build.py replaces the declarations of
// dynamic shared memory (extern __shared__).

#pragma once

#include "functions.h"
#include "runtime.h"
#include "vectors.h"

#include <cstring>
#include <type_traits>
#include <utility>

using emulator::blockDim;
using emulator::blockIdx;
using emulator::gridDim;
using emulator::threadIdx;

constexpr int warpSize = emulator::WARP;

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(size) __attribute__((aligned(size)))
// One copy serves all blocks, which run one after another. Without `used`, one that is never written would be folded
// into its zeros.
#define __shared__ static __attribute__((used))

template <typename Number>
inline Number __ldg(const Number *address)
{
    return *address;
}

inline void __threadfence_block() {}
inline void __threadfence() { emulator::fence(); }

// A barrier says which line it stands in: threads that wait in different lines have not reached the same one.
#define __syncthreads emulator::At{__LINE__}.syncthreads
#define __syncthreads_count emulator::At{__LINE__}.syncthreads_count
#define __syncthreads_and emulator::At{__LINE__}.syncthreads_and
#define __syncthreads_or emulator::At{__LINE__}.syncthreads_or
#define __syncwarp emulator::At{__LINE__}.syncwarp
#define __ballot_sync emulator::At{__LINE__}.ballot
#define __any_sync emulator::At{__LINE__}.any
#define __all_sync emulator::At{__LINE__}.all
#define __reduce_add_sync emulator::At{__LINE__}.reduce<emulator::REDUCE_ADD>
#define __reduce_min_sync emulator::At{__LINE__}.reduce<emulator::REDUCE_MIN>
#define __reduce_max_sync emulator::At{__LINE__}.reduce<emulator::REDUCE_MAX>
#define __reduce_and_sync emulator::At{__LINE__}.reduce<emulator::REDUCE_AND>
#define __reduce_or_sync emulator::At{__LINE__}.reduce<emulator::REDUCE_OR>
#define __reduce_xor_sync emulator::At{__LINE__}.reduce<emulator::REDUCE_XOR>
#define __shfl_sync emulator::At{__LINE__}.shuffle<emulator::SHFL>
#define __shfl_up_sync emulator::At{__LINE__}.shuffle<emulator::SHFL_UP>
#define __shfl_down_sync emulator::At{__LINE__}.shuffle<emulator::SHFL_DOWN>
#define __shfl_xor_sync emulator::At{__LINE__}.shuffle<emulator::SHFL_XOR>

// Makes an array that is declared as dynamic shared memory another name of the array in memory.cpp.
#define EMULATOR_DYNAMIC(name) __asm__(".set " EMULATOR_SYMBOL(name) ", " EMULATOR_SYMBOL(emulator_dynamic));
#define EMULATOR_SYMBOL(name) EMULATOR_TEXT(__USER_LABEL_PREFIX__) #name
#define EMULATOR_TEXT(prefix) EMULATOR_QUOTED(prefix)
#define EMULATOR_QUOTED(prefix) #prefix

// What the compiler must not announce: the emulator's own memory, and accesses that the emulator has announced.
#ifdef __clang__
#define EMULATOR_UNSEEN __attribute__((no_sanitize("thread", "coverage")))
#else
#define EMULATOR_UNSEEN __attribute__((no_sanitize("thread"), no_sanitize_coverage))
#endif

// The lanes that the hardware runs together are at most these; a kernel must not depend on which.
inline unsigned __activemask() { return emulator::lanes(); }

namespace emulator {

// The lane that a shuffle reads; its own, where that would lie outside.
template <Wait wait>
inline unsigned source_lane(unsigned operand, unsigned width)
{
    const unsigned mine = lane(), first = mine & ~(width - 1), last = first + width - 1;
    if (wait == SHFL)
        return first + (operand & (width - 1));
    if (wait == SHFL_UP)
        return mine - first >= operand ? mine - operand : mine;
    if (wait == SHFL_DOWN)
        return last - mine >= operand ? mine + operand : mine;
    // Earlier groups may be read, later ones may not.
    return (mine ^ operand) <= last ? mine ^ operand : mine;
}

// A line of the source, and what a thread can wait for there.
struct At {
    int line;

    void syncthreads() const { wait_for_block(SYNCTHREADS, line, false); }

    int syncthreads_count(int predicate) const { return wait_for_block(SYNCTHREADS_COUNT, line, predicate); }

    int syncthreads_and(int predicate) const
    {
        return wait_for_block(SYNCTHREADS_AND, line, predicate) == blockDim.x * blockDim.y * blockDim.z;
    }

    int syncthreads_or(int predicate) const { return wait_for_block(SYNCTHREADS_OR, line, predicate) > 0; }

    void syncwarp(unsigned mask = 0xffffffff) const { wait_for_warp(SYNCWARP, line, mask, 0); }

    unsigned ballot(unsigned mask, int predicate) const { return vote(BALLOT, mask, predicate).hold; }

    int any(unsigned mask, int predicate) const { return vote(ANY, mask, predicate).hold != 0; }

    int all(unsigned mask, int predicate) const
    {
        const Votes votes = vote(ALL, mask, predicate);
        return votes.hold == votes.cast;
    }

    template <Wait wait, typename Number>
    EMULATOR_UNSEEN Number shuffle(unsigned mask, Number value, unsigned operand, unsigned width = WARP) const
    {
        static_assert(std::is_arithmetic_v<Number> && sizeof(Number) <= sizeof(std::uint64_t));
        if (width == 0 || width > WARP || width & (width - 1))
            refuse("shuffles in line %d with a width of %u, which is no power of two up to 32", line, width);
        std::uint64_t bits = 0;
        std::memcpy(&bits, &value, sizeof value);
        const Exchange &brought = wait_for_warp(wait, line, mask, bits);
        const unsigned source = source_lane<wait>(operand, width);
        if (!(brought.lanes >> source & 1))
            refuse("shuffles in line %d from lane %u, which takes no part", line, source);
        std::memcpy(&value, &brought.values[source], sizeof value);
        return value;
    }

    // In hardware since compute capability 8.0.
    template <Wait wait, typename Number>
    EMULATOR_UNSEEN Number reduce(unsigned mask, Number value) const
    {
        constexpr bool bits = wait == REDUCE_AND || wait == REDUCE_OR || wait == REDUCE_XOR;
        static_assert(std::is_same_v<Number, unsigned> || (std::is_same_v<Number, int> && !bits));
        const Exchange &brought = wait_for_warp(wait, line, mask, static_cast<unsigned>(value));
        bool begun = false;
        Number result = 0;
        for (unsigned i = 0; i < WARP; ++i) {
            if (!(brought.lanes >> i & 1))
                continue;
            const Number other = static_cast<Number>(brought.values[i]);
            result = begun ? reduced<wait>(result, other) : other;
            begun = true;
        }
        return result;
    }

private:
    template <Wait wait, typename Number>
    static Number reduced(Number one, Number other)
    {
        switch (wait) {
        case REDUCE_ADD:
            return static_cast<unsigned>(one) + static_cast<unsigned>(other);
        case REDUCE_MIN:
            return other < one ? other : one;
        case REDUCE_MAX:
            return one < other ? other : one;
        case REDUCE_AND:
            return one & other;
        case REDUCE_OR:
            return one | other;
        default:
            return one ^ other;
        }
    }

    // The lanes that voted, and those whose predicate holds.
    struct Votes {
        unsigned cast;
        unsigned hold;
    };

    EMULATOR_UNSEEN Votes vote(Wait wait, unsigned mask, bool predicate) const
    {
        const Exchange &brought = wait_for_warp(wait, line, mask, predicate);
        Votes votes{brought.lanes, 0};
        for (unsigned i = 0; i < WARP; ++i)
            if (brought.lanes >> i & 1 && brought.values[i])
                votes.hold |= 1u << i;
        return votes;
    }
};

template <typename Number, typename... Allowed>
constexpr bool is_one = (std::is_same_v<Number, Allowed> || ...);

template <typename Number>
using As = std::common_type_t<Number>;  // takes what the address is of, whatever it is given

// What `change` makes of the old value takes its place. As on a GPU, no other thread can come between.
template <typename Number, typename Change>
EMULATOR_UNSEEN __attribute__((noinline)) Number atomically(Number *address, Change change)
{
    atomic(address, sizeof *address);
    const Number old = *address;
    *address = change(old);
    return old;
}

}  // namespace emulator

// Sums of floats depend on the order of threads and are refused as such.
template <typename Number>
Number atomicAdd(Number *address, emulator::As<Number> value)
{
    static_assert(emulator::is_one<Number, int, unsigned, unsigned long long, float, double>);
    return emulator::atomically(address, [=](Number old) { return old + value; });
}

template <typename Number>
Number atomicSub(Number *address, emulator::As<Number> value)
{
    static_assert(emulator::is_one<Number, int, unsigned>);
    return emulator::atomically(address, [=](Number old) { return old - value; });
}

template <typename Number>
Number atomicAnd(Number *address, emulator::As<Number> value)
{
    static_assert(emulator::is_one<Number, int, unsigned, unsigned long long>);
    return emulator::atomically(address, [=](Number old) { return old & value; });
}

template <typename Number>
Number atomicOr(Number *address, emulator::As<Number> value)
{
    static_assert(emulator::is_one<Number, int, unsigned, unsigned long long>);
    return emulator::atomically(address, [=](Number old) { return old | value; });
}

template <typename Number>
Number atomicXor(Number *address, emulator::As<Number> value)
{
    static_assert(emulator::is_one<Number, int, unsigned, unsigned long long>);
    return emulator::atomically(address, [=](Number old) { return old ^ value; });
}

template <typename Number>
Number atomicMin(Number *address, emulator::As<Number> value)
{
    static_assert(emulator::is_one<Number, int, unsigned, long long, unsigned long long>);
    return emulator::atomically(address, [=](Number old) { return value < old ? value : old; });
}

template <typename Number>
Number atomicMax(Number *address, emulator::As<Number> value)
{
    static_assert(emulator::is_one<Number, int, unsigned, long long, unsigned long long>);
    return emulator::atomically(address, [=](Number old) { return old < value ? value : old; });
}

template <typename Number>
Number atomicExch(Number *address, emulator::As<Number> value)
{
    static_assert(emulator::is_one<Number, int, unsigned, unsigned long long, float>);
    return emulator::atomically(address, [=](Number) { return value; });
}

template <typename Number>
Number atomicCAS(Number *address, emulator::As<Number> compare, emulator::As<Number> value)
{
    static_assert(emulator::is_one<Number, int, unsigned, unsigned long long>);
    return emulator::atomically(address, [=](Number old) { return old == compare ? value : old; });
}

namespace emulator {

// What a parameter points to: a pointer, or a struct of pointers, Arrays<Number>; of a number itself.
template <typename Type>
struct Pointee {
    using type = std::remove_pointer_t<Type>;
};

template <template <typename> class Struct, typename Number>
struct Pointee<Struct<Number>> {
    using type = Number;
};

// Calls a kernel with its arguments from a table, each read as the type of its parameter.
template <auto kernel>
struct Kernel;

template <typename... Types, void (*kernel)(Types...)>
struct Kernel<kernel> {
    static constexpr bool constant[] = {std::is_const_v<typename Pointee<Types>::type>...};
    static constexpr unsigned sizes[] = {sizeof(Types)...};

    // CUDA flushes subnormals of float only. The CPU flushes those of double with them, so that a kernel of doubles keeps
    // all.
    static constexpr bool flushes =
        !(std::is_same_v<std::remove_cv_t<typename Pointee<Types>::type>, double> || ...);

    EMULATOR_UNSEEN static Outcome run(Launch &launch)
    {
        launch.flush = launch.flush && flushes;
        return emulator::run(enter, launch);
    }

    static void enter(void **arguments) { call(arguments, std::index_sequence_for<Types...>()); }

    template <std::size_t... Places>
    EMULATOR_UNSEEN static void call(void **arguments, std::index_sequence<Places...>)
    {
        kernel(*static_cast<Types *>(arguments[Places])...);
    }
};

}  // namespace emulator

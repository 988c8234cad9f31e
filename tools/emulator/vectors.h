// CUDA's vector types. A copy is one access of all bytes, at an address that must be a multiple of their number.

#pragma once

#include "runtime.h"

namespace emulator {

[[noreturn]] void refuse_misaligned(bool reads, const void *address, std::size_t size);

template <typename Vector>
__attribute__((always_inline)) inline auto &lanes_at(Vector *vector, bool reads)
{
    auto address = reinterpret_cast<std::uintptr_t>(vector);
    // The compiler takes it for granted that an address fits the type.
    asm("" : "+r"(address));
    if (address % sizeof *vector)
        refuse_misaligned(reads, vector, sizeof *vector);
    return vector->lanes;
}

// The compiler splits a copy of a structure into its members, but not one of `lanes`.
#define EMULATOR_VECTOR                                                             \
    Vector(const Vector &other) : lanes(lanes_at(&other, true)) {}                  \
    Vector &operator=(const Vector &other)                                          \
    {                                                                               \
        lanes_at(this, false) = lanes_at(&other, true);                             \
        return *this;                                                               \
    }

template <typename Number, int count>
struct Vector;

template <typename Number>
struct alignas(2 * sizeof(Number)) Vector<Number, 2> {
    typedef Number Lanes __attribute__((vector_size(2 * sizeof(Number))));
    union {
        struct {
            Number x, y;
        };
        Lanes lanes;
    };

    constexpr Vector(Number x = 0, Number y = 0) : x(x), y(y) {}
    EMULATOR_VECTOR
};

template <typename Number>
struct alignas(4 * sizeof(Number)) Vector<Number, 4> {
    typedef Number Lanes __attribute__((vector_size(4 * sizeof(Number))));
    union {
        struct {
            Number x, y, z, w;
        };
        Lanes lanes;
    };

    constexpr Vector(Number x = 0, Number y = 0, Number z = 0, Number w = 0) : x(x), y(y), z(z), w(w) {}
    EMULATOR_VECTOR
};

#undef EMULATOR_VECTOR

}  // namespace emulator

#define EMULATOR_VECTORS(name, Number)                                              \
    using name##2 = emulator::Vector<Number, 2>;                                    \
    inline name##2 make_##name##2(Number x, Number y) { return {x, y}; }

EMULATOR_VECTORS(ushort, unsigned short)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(uint, unsigned)
EMULATOR_VECTORS(longlong, long long)
EMULATOR_VECTORS(ulonglong, unsigned long long)
EMULATOR_VECTORS(float, float)
EMULATOR_VECTORS(double, double)
#undef EMULATOR_VECTORS

// Those of 32 bytes are several accesses on a GPU too.
#define EMULATOR_VECTORS(name, Number)                                              \
    using name##4 = emulator::Vector<Number, 4>;                                    \
    inline name##4 make_##name##4(Number x, Number y, Number z, Number w) { return {x, y, z, w}; }

EMULATOR_VECTORS(uchar, unsigned char)
EMULATOR_VECTORS(ushort, unsigned short)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(uint, unsigned)
EMULATOR_VECTORS(float, float)
#undef EMULATOR_VECTORS

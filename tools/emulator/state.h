// What the two halves of the emulator share: which thread runs, and when.

#pragma once

#include "runtime.h"

namespace emulator {

// Of the time below.
constexpr unsigned TIME_BITS = 18;

// The running thread, and how far barriers have brought it. Two threads of a block may touch the same memory in
// different intervals; two lanes of a warp also in one interval, where one's time was past before the other's began.
struct Now {
    std::uint32_t interval = 0;  // counts the barriers of all blocks, and their beginnings
    std::uint32_t first = 0;     // the interval in which this block began
    std::uint32_t time = 0;      // counts the barriers of the warp that this lane took part in
    std::uint16_t thread = 0;
    bool fenced = false;         // a thread has called __threadfence()
};

extern Now now;
extern unsigned block_number;

// The stack of the running thread.
struct Stack {
    const char *low = nullptr;
    const char *high = nullptr;
};

extern Stack stack;

enum Access { READ, WRITE, ATOMIC };

// Refuses an access of the running thread, by the instruction at an address, to memory that is not its own to touch, or
// not yet.
void touch(const void *address, std::size_t size, Access access, const void *instruction);

// Forgets what the shared memory of a kernel's library held, and makes room for some bytes of dynamic shared memory.
void begin_shared(Enter kernel, std::size_t dynamic);

}  // namespace emulator

// What the parts of the machine share: which thread runs, and when.

#pragma once

#include "machine.h"

namespace machine {

// A variable in shared memory.
struct Shared {
    const char *name;
    std::uint64_t offset, size;
};

// One pass over a grid. tools/emulator/launch.py holds the same fields.
struct Launch {
    void (*kernel)(const char *parameters);
    const char *parameters;
    Three grid;
    Three block;
    const Shared *shared;
    unsigned variables;
    unsigned order;      // of threads and blocks: ascending, descending, shuffled
    unsigned fibers;     // whether threads can wait
    unsigned perturbed;  // whether approximate instructions miss what is nearest
    unsigned counting;
    char message[512];  // why the pass was refused
};

// Of the time below.
constexpr unsigned TIME_BITS = 18;

// The running thread, and how far barriers have brought it. Two threads of a block may touch the same memory in
// different intervals; two lanes of a warp also in one interval, where one's time was past before the other's began.
struct Now {
    std::uint32_t interval = 0;  // counts the barriers of all blocks, and their beginnings
    std::uint32_t first = 0;     // the interval in which this block began
    std::uint32_t time = 0;      // counts the barriers of the warp that this lane took part in
    std::uint16_t thread = 0;
    bool fenced = true;  // a thread of this block has called __threadfence()
    bool all_fenced = true;  // one of every block before
};

extern Now now;
extern unsigned block_number;

// The arguments have the spaces 0, 1, ...
constexpr unsigned SHARED_SPACE = 256;

// Forgets what shared memory held.
void begin_shared(const Shared *variables, unsigned count);

// Counts of what the accesses of warps cost on a GPU. tools/emulator/counts.py says what is counted.

extern bool counting;
void begin_counting(bool counts);
void count(unsigned space, std::uint64_t address, unsigned size, Access access, unsigned site);
// The threads of a block have ended.
void end_accesses();

}  // namespace machine

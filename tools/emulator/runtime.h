// The interface between emulated kernels and the emulator: kernels include emulator.h; threads.cpp and memory.cpp
// implement it.

#pragma once

#include <cstddef>
#include <cstdint>

struct uint3 {
    unsigned x = 0;
    unsigned y = 0;
    unsigned z = 0;
};

struct dim3 {
    unsigned x = 1;
    unsigned y = 1;
    unsigned z = 1;
};

namespace emulator {

// Where the running thread is; a kernel reads these four under their own names.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

// One pass over a grid. tools/emulator/launch.py holds the same fields.
struct Launch {
    dim3 grid;
    dim3 block;
    void **arguments;   // as cuLaunchKernel has them: the addresses of the arguments
    unsigned shared;    // bytes of dynamic shared memory
    unsigned order;     // of threads and blocks: ascending, descending, shuffled
    unsigned fibers;    // whether threads can wait
    unsigned flush;     // whether subnormal numbers become 0
    unsigned counting;  // what the pass does for counts.cpp
    char message[256];  // why the pass was refused
};

enum Outcome : int { ENDED, REFUSED, NEEDS_FIBERS };

// A kernel, behind a function that takes all arguments from one table.
using Enter = void (*)(void **);

Outcome run(Enter kernel, Launch &launch);

// What a thread waits for.
enum Wait : unsigned {
    SYNCTHREADS,
    SYNCTHREADS_COUNT,
    SYNCTHREADS_AND,
    SYNCTHREADS_OR,
    SYNCWARP,
    SHFL,
    SHFL_UP,
    SHFL_DOWN,
    SHFL_XOR,
    BALLOT,
    ANY,
    ALL,
    REDUCE_ADD,
    REDUCE_MIN,
    REDUCE_MAX,
    REDUCE_AND,
    REDUCE_OR,
    REDUCE_XOR
};

constexpr unsigned WARP = 32;

// What the lanes of a warp brought to a barrier, and which of them came.
struct Exchange {
    unsigned lanes;
    std::uint64_t values[WARP];
};

// Waits for the threads of the block; returns how many brought a predicate that is not 0.
unsigned wait_for_block(Wait wait, int line, bool predicate);

// Waits for the lanes of a mask, of those that have not ended.
const Exchange &wait_for_warp(Wait wait, int line, unsigned mask, std::uint64_t value);

unsigned lane();

// The lanes with which the warp began.
unsigned lanes();

// Announces an atomic access.
void atomic(const void *address, std::size_t size);

// From here on, what one block wrote may be another's to read.
void fence();

// Ends the pass: the message goes on from "thread 3 of block 0 ".
[[noreturn]] void refuse(const char *format, ...);

}  // namespace emulator

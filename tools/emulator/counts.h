// Counts of what the accesses of warps cost on a GPU. tools/emulator/counts.py says what is counted.

#pragma once

#include "state.h"

namespace emulator {

// A pass learns in which order the kernel runs its blocks of code; the next one counts.
enum Counting : unsigned { OFF, LEARN, COUNT };

extern Counting counting;

// The arguments have the spaces 0, 1, ...
constexpr unsigned SHARED_SPACE = 256;

void begin_counting(Counting what);

// Before the threads of a block begin.
void begin_block();

// The running thread enters a block of code, or a function called from an address, or leaves the function.
void enter_code(const void *code);
void enter_function(const void *caller);
void leave_function();

// Counts an access of the running thread, by the instruction at an address.
void count(unsigned space, const void *address, std::size_t size, Access access, const void *instruction);

// No thread will take part in the accesses counted so far.
void end_accesses();

}  // namespace emulator

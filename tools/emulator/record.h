// Who touched an element, and whether a barrier lies between that and the running thread.

#pragma once

#include "state.h"

namespace machine {

enum Spread { NOBODY, BEFORE, THREAD, WARP_MATES, BLOCK_MATES, GRID_MATES };

// The threads that last touched an element, as far as it matters what they were: one, several of a warp, several of a
// block, or of several blocks. The first of them is named.
//
// Small, because the output of a kernel has two of them an element, and columns are visited far apart.
struct Record {
    std::uint32_t interval;
    std::uint32_t time : TIME_BITS;
    std::uint32_t thread : 10;
    std::uint32_t spread : 3;
    std::uint32_t atomic : 1;

    Record() : Record(0, 0, 0, NOBODY, false) {}

    Record(std::uint32_t interval, std::uint32_t time, std::uint32_t thread, Spread spread, bool atomic)
        : interval(interval), time(time), thread(thread), spread(spread), atomic(atomic)
    {
    }

    // Of an access of the running thread.
    explicit Record(bool atomic) : Record(now.interval, now.time, now.thread, THREAD, atomic) {}

    // Whether one of them was another thread, and no barrier lies between it and the running one.
    bool unordered() const
    {
        if (spread <= BEFORE)
            return false;
        if (spread == GRID_MATES || other_block())
            return !now.all_fenced;
        if (interval != now.interval)
            return false;
        if (spread == BLOCK_MATES || !same_warp())
            return true;
        if (spread == THREAD && thread == now.thread)
            return false;
        return time >= now.time;
    }

    void add(bool atomically)
    {
        Record added(atomically);
        if (spread == GRID_MATES || (spread > BEFORE && other_block()))
            added.spread = GRID_MATES;
        else if (spread > BEFORE && interval == now.interval) {
            if (spread == BLOCK_MATES || !same_warp())
                added.spread = BLOCK_MATES;
            else if (time >= now.time && (spread == WARP_MATES || thread != now.thread)) {
                added.spread = WARP_MATES;
                added.time = time;
            }
            if (added.spread != THREAD)
                added.thread = thread;
        }
        *this = added;
    }

    bool other_block() const { return interval < now.first; }
    bool same_warp() const { return thread / WARP == now.thread / WARP; }
};

struct Cell {
    Record written;
    Record read;
};

// No bit is left out, so that equal cells are equal bytes.
static_assert(sizeof(Cell) == 16);

}  // namespace machine

// Dominators and natural loops, by the textbook (Aho, Lam, Sethi, Ullman: Compilers, section 9.6).

#include "loops.h"

#include <algorithm>

namespace emulator {

// The blocks on every way to each block; `before` has the blocks that lead to it, none where a function begins.
std::vector<Flow::Set> Flow::dominators(const std::vector<std::vector<unsigned>> &before) const
{
    const std::size_t count = before.size();
    std::vector<Set> found(count, Set(count, true));
    for (bool changed = true; changed;) {
        changed = false;
        for (unsigned block = 0; block < count; ++block) {
            Set next(count, !before[block].empty());
            for (const unsigned earlier : before[block])
                for (std::size_t i = 0; i < count; ++i)
                    next[i] = next[i] && found[earlier][i];
            next[block] = true;
            if (next != found[block]) {
                found[block] = next;
                changed = true;
            }
        }
    }
    return found;
}

void Flow::find_loops()
{
    const std::size_t count = numbers_.size();
    std::vector<std::vector<unsigned>> before(count);
    Set first(count);
    for (const std::uint64_t edge : edges_) {
        const unsigned from = edge >> 32, to = static_cast<unsigned>(edge);
        if (from == NONE)
            first[to] = true;
        else
            before[to].push_back(from);
    }
    auto ways = before;
    for (unsigned block = 0; block < count; ++block)
        if (first[block])
            ways[block].clear();
    const std::vector<Set> dominating = dominators(ways);
    bodies_.clear();
    for (const std::uint64_t edge : edges_) {
        const unsigned from = edge >> 32, to = static_cast<unsigned>(edge);
        if (from == NONE || !dominating[from][to])
            continue;
        Set &body = bodies_.emplace(to, Set(count)).first->second;
        body[to] = true;
        std::vector<unsigned> open{from};
        while (!open.empty()) {
            const unsigned block = open.back();
            open.pop_back();
            if (body[block])
                continue;
            body[block] = true;
            open.insert(open.end(), before[block].begin(), before[block].end());
        }
    }
    loops_.assign(count, {});
    for (const auto &[loop, body] : bodies_)
        for (unsigned block = 0; block < count; ++block)
            if (body[block])
                loops_[block].push_back(loop);
    for (auto &loops : loops_)
        std::sort(loops.begin(), loops.end(), [&](unsigned one, unsigned other) {
            const auto size = [&](unsigned loop) { return std::count(bodies_[loop].begin(), bodies_[loop].end(), true); };
            const auto mine = size(one), others = size(other);
            return mine != others ? mine > others : one < other;
        });
}

}  // namespace emulator

// The loops of a kernel, found in the order in which threads ran its blocks of code.

#pragma once

#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace emulator {

// The blocks of code that threads entered, and from which other one.
class Flow {
public:
    static constexpr unsigned NONE = ~0u;

    // The number of a block, which it gets when it is first seen.
    unsigned number(const void *code)
    {
        return numbers_.emplace(code, static_cast<unsigned>(numbers_.size())).first->second;
    }

    // From NONE where a function begins.
    void add(unsigned from, unsigned to) { edges_.insert(std::uint64_t(from) << 32 | to); }

    void clear()
    {
        numbers_.clear();
        edges_.clear();
    }

    // Finds the natural loops: an edge to a block through which every way to its origin leads is a next iteration.
    void find_loops();

    // The loops around a block, the outermost first, by the number of their first block.
    const std::vector<unsigned> &loops(unsigned block) const { return loops_[block]; }

    bool within(unsigned loop, unsigned block) const { return block != NONE && bodies_.at(loop)[block]; }

private:
    using Set = std::vector<bool>;

    std::vector<Set> dominators(const std::vector<std::vector<unsigned>> &before) const;

    std::unordered_map<const void *, unsigned> numbers_;
    std::unordered_set<std::uint64_t> edges_;
    std::unordered_map<unsigned, Set> bodies_;
    std::vector<std::vector<unsigned>> loops_;
};

}  // namespace emulator

// What the accesses of warps cost on a GPU.
//
// Threads run one after another, so the accesses of a warp have to be put together again: those of one instruction that
// each lane runs for the same time.

#include "state.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

namespace machine {

bool counting = false;

namespace {

constexpr unsigned SECTOR = 32, BANKS = 32, WORD = 4;

// An access of the lanes of a warp.
struct Group {
    unsigned space, kind, size;
    std::vector<std::uint64_t> addresses;
};

// By warp, instruction and how often the instruction ran before.
std::map<std::array<unsigned, 3>, Group> groups;
std::unordered_map<std::uint64_t, unsigned> times;  // by thread and instruction

struct Traffic {
    std::uint64_t accesses = 0, sectors = 0, ideal = 0;
};

Traffic traffic[SHARED_SPACE][3];
std::uint64_t shared_accesses, conflicts;

void count_global(const Group &group)
{
    std::set<std::uint64_t> bytes, sectors;
    for (const std::uint64_t address : group.addresses)
        for (unsigned i = 0; i < group.size; ++i) {
            bytes.insert(address + i);
            sectors.insert((address + i) / SECTOR);
        }
    Traffic &found = traffic[group.space][group.kind];
    ++found.accesses;
    found.sectors += sectors.size();
    found.ideal += (bytes.size() + SECTOR - 1) / SECTOR;
}

void count_shared(const Group &group)
{
    ++shared_accesses;
    // As many lanes at a time as 128 bytes have room for.
    const std::size_t together = group.size <= WORD ? WARP : WARP * WORD / group.size;
    for (std::size_t first = 0; first < group.addresses.size(); first += together) {
        std::set<std::uint64_t> words;
        for (std::size_t lane = first; lane < std::min(first + together, group.addresses.size()); ++lane)
            for (unsigned byte = 0; byte < group.size; byte += WORD)
                words.insert((group.addresses[lane] + byte) / WORD);
        unsigned in_bank[BANKS] = {};
        for (const std::uint64_t word : words)
            ++in_bank[word % BANKS];
        conflicts += *std::max_element(in_bank, in_bank + BANKS) - 1;
    }
}

}  // namespace

void begin_counting(bool counts)
{
    counting = counts;
    for (auto &of_space : traffic)
        for (Traffic &each : of_space)
            each = Traffic();
    shared_accesses = conflicts = 0;
    groups.clear();
    times.clear();
}

void count(unsigned space, std::uint64_t address, unsigned size, Access access, unsigned site)
{
    const unsigned before = times[std::uint64_t(now.thread) << 32 | site]++;
    const unsigned kind = access <= READ_ONLY ? 0 : access == WRITE ? 1 : 2;
    Group &group = groups[{now.thread / WARP, site, before}];
    group.space = space;
    group.kind = kind;
    group.size = size;
    group.addresses.push_back(address);
}

void end_accesses()
{
    for (const auto &[_, group] : groups)
        group.space == SHARED_SPACE ? count_shared(group) : count_global(group);
    groups.clear();
    times.clear();
}

}  // namespace machine

using namespace machine;

// Writes three numbers for each kind of access (read, write, atomic) to an argument: accesses of warps, sectors, and the
// least sectors.
extern "C" void machine_argument_counts(unsigned number, std::uint64_t *counts)
{
    for (const Traffic &found : traffic[number])
        for (const std::uint64_t count : {found.accesses, found.sectors, found.ideal})
            *counts++ = count;
}

// Writes the accesses to shared memory, and the passes that these took in addition.
extern "C" void machine_shared_counts(std::uint64_t *counts)
{
    counts[0] = shared_accesses;
    counts[1] = conflicts;
}

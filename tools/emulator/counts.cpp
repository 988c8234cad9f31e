// What the accesses of warps cost on a GPU.
//
// Threads run one after another, so the accesses of a warp have to be put together again: those of one instruction in the
// same iterations of all loops around it. That is how a GPU runs them where every branch and loop is left at one place.

#include "counts.h"

#include "loops.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

namespace emulator {

Counting counting = OFF;

namespace {

constexpr std::size_t SECTOR = 32, BANKS = 32, WORD = 4;

Flow flow;

// A function that a thread is in: the block of code, the iterations of the loops around it, and a number for both.
struct Frame {
    std::uint64_t caller;
    std::uint64_t place;
    unsigned block = Flow::NONE;
    std::unordered_map<unsigned, std::uint32_t> iterations;
};

// An access of the lanes of a warp.
struct Group {
    unsigned space;
    Access access;
    std::uint32_t size;
    std::uint32_t lanes = 0;
    const char *addresses[WARP];
};

struct Warp {
    std::uint32_t entered = 0;  // lanes
    std::unordered_map<std::uint64_t, Group> groups;
};

std::vector<std::vector<Frame>> stacks;  // of the threads
std::vector<Warp> warps;

// Of one argument and one kind of access.
struct Traffic {
    std::uint64_t accesses = 0;
    std::uint64_t sectors = 0;
    std::uint64_t ideal = 0;
    std::unordered_set<std::uintptr_t> distinct;
};

Traffic traffic[SHARED_SPACE][3];

struct Totals {
    std::uint64_t accesses = 0;
    std::uint64_t partial = 0;
    std::uint64_t lanes = 0;
    std::uint64_t shared = 0;
    std::uint64_t conflicts = 0;
} totals;

std::uint64_t mixed(std::uint64_t one, std::uint64_t other)
{
    std::uint64_t x = one * 0x9e3779b97f4a7c15 + other + 0x632be59bd9b4e019;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

std::uint64_t number(const void *address)
{
    return reinterpret_cast<std::uintptr_t>(address);
}

void count_global(const Group &group)
{
    Traffic &found = traffic[group.space][group.access];
    std::vector<std::uintptr_t> begins;
    for (unsigned lane = 0; lane < WARP; ++lane)
        if (group.lanes >> lane & 1)
            begins.push_back(number(group.addresses[lane]));
    std::sort(begins.begin(), begins.end());
    std::uintptr_t past = 0, past_sector = 0;
    std::uint64_t bytes = 0;
    for (const std::uintptr_t begin : begins) {
        const std::uintptr_t end = begin + group.size;
        bytes += end - std::max(begin, std::min(past, end));
        past = end;
        for (std::uintptr_t sector = std::max(begin / SECTOR, past_sector); sector * SECTOR < end; ++sector) {
            ++found.sectors;
            found.distinct.insert(sector);
            past_sector = sector + 1;
        }
    }
    ++found.accesses;
    found.ideal += (bytes + SECTOR - 1) / SECTOR;
}

void count_shared(const Group &group)
{
    ++totals.shared;
    // As many lanes at a time as 128 bytes have room for.
    const unsigned together = group.size <= WORD ? WARP : WARP * WORD / group.size;
    for (unsigned first = 0; first < WARP; first += together) {
        std::vector<std::uintptr_t> words;
        for (unsigned lane = first; lane < first + together; ++lane)
            if (group.lanes >> lane & 1)
                for (std::size_t byte = 0; byte < group.size; byte += WORD)
                    words.push_back((number(group.addresses[lane]) + byte) / WORD);
        std::sort(words.begin(), words.end());
        words.erase(std::unique(words.begin(), words.end()), words.end());
        unsigned in_bank[BANKS] = {};
        for (const std::uintptr_t word : words)
            ++in_bank[word % BANKS];
        const unsigned passes = *std::max_element(in_bank, in_bank + BANKS);
        totals.conflicts += passes ? passes - 1 : 0;
    }
}

void count_one(unsigned space, const char *address, std::uint32_t size, Access access, std::uint64_t instruction)
{
    Warp &warp = warps[now.thread / WARP];
    const std::uint32_t mine = 1u << lane();
    std::uint64_t key = mixed(mixed(stacks[now.thread].back().place, instruction), space * 4 + access);
    for (;; ++key) {
        Group &group = warp.groups.emplace(key, Group{space, access, size, 0, {}}).first->second;
        // An instruction that runs twice in one block of code, in a function that is not compiled for counting.
        if (group.lanes & mine)
            continue;
        group.lanes |= mine;
        group.addresses[lane()] = address;
        return;
    }
}

}  // namespace

void begin_counting(Counting what)
{
    counting = what;
    if (what == LEARN)
        flow.clear();
    if (what != COUNT)
        return;
    flow.find_loops();
    for (auto &of_space : traffic)
        for (auto &each : of_space)
            each = Traffic();
    totals = Totals();
}

void begin_block()
{
    const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    stacks.assign(threads, {});
    warps.assign((threads + WARP - 1) / WARP, {});
    for (unsigned i = 0; i < warps.size(); ++i)
        warps[i].entered = threads - i * WARP < WARP ? (1u << (threads - i * WARP)) - 1 : 0xffffffff;
}

void enter_code(const void *code)
{
    Frame &frame = stacks[now.thread].back();
    const unsigned from = frame.block;
    frame.block = flow.number(code);
    if (counting == LEARN)
        return flow.add(from, frame.block);
    frame.place = mixed(frame.caller, frame.block);
    for (const unsigned loop : flow.loops(frame.block)) {
        std::uint32_t &iteration = frame.iterations[loop];
        if (!flow.within(loop, from))
            iteration = 0;
        else if (loop == frame.block)
            ++iteration;
        frame.place = mixed(frame.place, iteration);
    }
}

void enter_function(const void *caller)
{
    std::vector<Frame> &frames = stacks[now.thread];
    const std::uint64_t place = mixed(frames.empty() ? 0 : frames.back().place, number(caller));
    frames.push_back({place, place, Flow::NONE, {}});
}

void leave_function()
{
    stacks[now.thread].pop_back();
}

void count(unsigned space, const void *pointer, std::size_t size, Access access, const void *instruction)
{
    // A GPU has no access of more than 16 bytes.
    constexpr std::size_t MOST = 16;
    const char *address = static_cast<const char *>(pointer);
    for (std::size_t done = 0; done < size; done += MOST)
        count_one(space, address + done, std::min(MOST, size - done), access, number(instruction) + (done << 48));
}

void end_accesses()
{
    for (Warp &warp : warps) {
        for (const auto &[key, group] : warp.groups) {
            ++totals.accesses;
            totals.partial += group.lanes != warp.entered;
            totals.lanes += __builtin_popcount(group.lanes);
            if (group.space == SHARED_SPACE)
                count_shared(group);
            else
                count_global(group);
        }
        warp.groups.clear();
    }
}

}  // namespace emulator

using namespace emulator;

// Writes four numbers for each kind of access (read, write, atomic) to an argument: accesses of warps, sectors, the least
// sectors, different sectors.
extern "C" void emulator_argument_counts(unsigned number, std::uint64_t *counts)
{
    for (const Traffic &found : traffic[number])
        for (const std::uint64_t count : {found.accesses, found.sectors, found.ideal, std::uint64_t(found.distinct.size())})
            *counts++ = count;
}

// Writes the accesses of warps, those of some lanes only, all their lanes, the accesses to shared memory, and the passes
// that these took in addition.
extern "C" void emulator_counts(std::uint64_t *counts)
{
    for (const std::uint64_t count : {totals.accesses, totals.partial, totals.lanes, totals.shared, totals.conflicts})
        *counts++ = count;
}

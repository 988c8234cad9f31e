// The memory of kernels: where an argument may be touched, and who has touched it since which barrier.

#include "record.h"
#include "state.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace machine {

std::uint64_t shared_window;

namespace {

// An argument lies in the middle of a stretch of addresses where nothing else is.
struct Argument {
    std::string name;
    char *data = nullptr;
    std::size_t size = 0;
    std::size_t item = 1;
    bool constant = false;
    std::size_t committed = 0;
    std::vector<Cell> cells;  // one an element; none where an argument is only read, and was all written before
};

constexpr std::size_t ARGUMENTS = 256;
static_assert(ARGUMENTS <= SHARED_SPACE);
constexpr unsigned STRETCH_BITS = 33;
constexpr std::size_t STRETCH = std::size_t(1) << STRETCH_BITS;
constexpr std::size_t LARGEST = STRETCH / 4;

Argument arguments[ARGUMENTS];
// Behind the stretches of the arguments, one that stands for shared memory.
char *arena;

const Shared *variables;
unsigned variable_count;
std::vector<char> shared;
std::vector<Cell> shared_cells;  // one a byte

const char *verb(Access access)
{
    return access <= READ_ONLY ? "reads" : access == WRITE ? "writes" : "changes";
}

[[noreturn]] void refuse_race(Access access, const char *what, const Record &other, const char *did, unsigned site)
{
    if (other.spread == GRID_MATES || other.other_block())
        refuse("%s %s, which another block %s (#%u)", verb(access), what, did, site);
    if (other.thread == now.thread)
        refuse("%s %s, which other threads too %s with no barrier between (#%u)", verb(access), what, did, site);
    refuse(
        "%s %s, which thread %u %s with no barrier between (#%u)",
        verb(access), what, unsigned(other.thread), did, site);
}

struct Place {
    const char *name;
    long long index;
    unsigned site;
};

[[noreturn]] void refuse_touch(const Cell &cell, Access access, const Place &place)
{
    char what[128];
    std::snprintf(what, sizeof what, "%s[%lld]", place.name, place.index);
    if (access != WRITE && cell.written.spread == NOBODY)
        refuse("%s %s, which nothing wrote (#%u)", verb(access), what, place.site);
    const bool both_atomic = access == ATOMIC && cell.written.atomic;
    if (!both_atomic && cell.written.unordered())
        refuse_race(access, what, cell.written, "wrote", place.site);
    if (access == READ_ONLY)
        refuse("%s %s as what never changes, but the kernel wrote it (#%u)", verb(access), what, place.site);
    refuse_race(access, what, cell.read, "read", place.site);
}

inline void touch(Cell &cell, Access access, const Place &place)
{
    const bool both_atomic = access == ATOMIC && cell.written.atomic;
    const bool unwritten = access != WRITE && cell.written.spread == NOBODY;
    if (unwritten || (!both_atomic && cell.written.unordered()) || (access == READ_ONLY && cell.written.spread > BEFORE))
        refuse_touch(cell, access, place);
    if (access <= READ_ONLY)
        return cell.read.add(false);
    if (cell.read.unordered())
        refuse_touch(cell, access, place);
    if (both_atomic)
        return cell.written.add(true);
    cell.written = Record(access == ATOMIC);
}

[[noreturn]] void refuse_misaligned(Access access, unsigned size, unsigned site)
{
    refuse("%s %u bytes at an address that is no multiple of %u (#%u)", verb(access), size, size, site);
}

[[noreturn]] void refuse_outside(const Argument &argument, long long bytes, Access access, unsigned site)
{
    const long long item = argument.item, index = bytes >= 0 ? bytes / item : -((item - 1 - bytes) / item);
    refuse(
        "%s %s[%lld], outside of its %zu elements (#%u)",
        verb(access), argument.name.c_str(), index, argument.size / argument.item, site);
}

[[noreturn]] void refuse_stray(Access access, unsigned site)
{
    refuse("%s memory of no argument (#%u)", verb(access), site);
}

}  // namespace

char *at_global(std::uint64_t address, unsigned size, Access access, unsigned site)
{
    const std::uint64_t place = address - reinterpret_cast<std::uintptr_t>(arena);
    if (place >= ARGUMENTS * STRETCH)
        refuse_stray(access, site);
    Argument &argument = arguments[place >> STRETCH_BITS];
    if (!argument.data)
        refuse_stray(access, site);
    const std::uint64_t offset = address - reinterpret_cast<std::uintptr_t>(argument.data);
    if (offset >= argument.size || size > argument.size - offset)
        refuse_outside(argument, offset, access, site);
    if (address % size)
        refuse_misaligned(access, size, site);
    const std::size_t first = offset / argument.item;
    if (argument.constant && access >= WRITE)
        refuse("%s %s[%zu], which is const (#%u)", verb(access), argument.name.c_str(), first, site);
    if (!argument.cells.empty()) {
        const std::size_t last = (offset + size - 1) / argument.item;
        for (std::size_t i = first; i <= last; ++i)
            touch(argument.cells[i], access, {argument.name.c_str(), static_cast<long long>(i), site});
    }
    if (counting)
        count(place >> STRETCH_BITS, address, size, access, site);
    return argument.data + offset;
}

char *at_shared(std::uint64_t offset, unsigned size, Access access, unsigned site)
{
    unsigned i = 0;
    while (i < variable_count && offset - variables[i].offset >= variables[i].size)
        ++i;
    if (i == variable_count)
        refuse("%s byte %llu of shared memory, of no variable (#%u)", verb(access), (unsigned long long)offset, site);
    const std::uint64_t first = offset - variables[i].offset;
    if (first + size > variables[i].size)
        refuse(
            "%s %s[%llu], outside of its %llu bytes (#%u)", verb(access), variables[i].name,
            (unsigned long long)first + size - 1, (unsigned long long)variables[i].size, site);
    if (offset % size)
        refuse_misaligned(access, size, site);
    Cell before, after;
    for (unsigned byte = 0; byte < size; ++byte) {
        Cell &cell = shared_cells[offset + byte];
        // The bytes of a number have mostly been touched together.
        if (byte > 0 && !std::memcmp(&cell, &before, sizeof cell)) {
            cell = after;
            continue;
        }
        before = cell;
        // The shared memory of an earlier block was another.
        if (cell.written.other_block())
            cell.written = Record();
        if (cell.read.other_block())
            cell.read = Record();
        touch(cell, access, {variables[i].name, static_cast<long long>(first + byte), site});
        after = cell;
    }
    if (counting)
        count(SHARED_SPACE, offset, size, access, site);
    return &shared[offset];
}

char *at_generic(std::uint64_t address, unsigned size, Access access, unsigned site)
{
    const std::uint64_t offset = address - shared_window;
    return offset < STRETCH ? at_shared(offset, size, access, site) : at_global(address, size, access, site);
}

void begin_shared(const Shared *given, unsigned count)
{
    variables = given;
    variable_count = count;
    std::size_t end = 0;
    for (unsigned i = 0; i < count; ++i)
        end = std::max<std::size_t>(end, given[i].offset + given[i].size);
    shared.resize(std::max(shared.size(), end));
    shared_cells.assign(end, Cell());
}

}  // namespace machine

using namespace machine;

// Makes room for an argument behind those of lower numbers, and for no other; returns its address, or null where there
// is no room. It is `offset` bytes past a multiple of all alignments. `unwritten` marks the elements that nothing wrote so far, one byte each; null: none.
extern "C" void *machine_place(
    unsigned number,
    const char *name,
    std::size_t size,
    std::size_t offset,
    std::size_t item,
    int constant,
    const unsigned char *unwritten)
{
    if (!arena) {
        void *memory = mmap(nullptr, (ARGUMENTS + 1) * STRETCH, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            return nullptr;
        arena = static_cast<char *>(memory);
        shared_window = reinterpret_cast<std::uintptr_t>(arena) + ARGUMENTS * STRETCH;
    }
    if (number >= ARGUMENTS || size > LARGEST)
        return nullptr;
    for (std::size_t i = number + 1; i < ARGUMENTS; ++i)
        arguments[i].data = nullptr;
    Argument &argument = arguments[number];
    // Not at equal distances: an index that overflowed by a power of two must not meet another argument.
    argument.data = arena + number * STRETCH + STRETCH / 2 + number * (STRETCH / 1024);
    if (offset + size > argument.committed) {
        const std::size_t page = sysconf(_SC_PAGESIZE);
        const std::size_t pages = std::max(offset + size, 2 * argument.committed) / page + 1;
        if (mprotect(argument.data, pages * page, PROT_READ | PROT_WRITE))
            return nullptr;
        argument.committed = pages * page;
    }
    argument.data += offset;
    argument.name = name;
    argument.size = size;
    argument.item = item;
    argument.constant = constant;
    Cell before;
    before.written.spread = BEFORE;
    argument.cells.assign(constant && !unwritten ? 0 : size / item, before);
    for (std::size_t i = 0; unwritten && i < argument.cells.size(); ++i)
        if (unwritten[i])
            argument.cells[i].written.spread = NOBODY;
    return argument.data;
}

// Returns how many elements of an argument nothing has written, and the first of them.
extern "C" std::size_t machine_unwritten(unsigned number, std::size_t *first)
{
    const auto nobody = [](const Cell &cell) { return cell.written.spread == NOBODY; };
    const auto &cells = arguments[number].cells;
    *first = std::find_if(cells.begin(), cells.end(), nobody) - cells.begin();
    return std::count_if(cells.begin(), cells.end(), nobody);
}

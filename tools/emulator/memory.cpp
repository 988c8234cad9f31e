// The memory of emulated kernels: where an argument may be touched, and who has touched it since which barrier.
//
// compiler_calls.cpp announces every access to memory.

#include "counts.h"
#include "record.h"
#include "vectors.h"

#ifdef __APPLE__
#include <dlfcn.h>
#include <mach-o/getsect.h>
#else
#include <link.h>
#endif
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

// Dynamic shared memory, and behind the most that a block can have (227 KiB) what no access may touch.
extern "C" {
alignas(1024) char emulator_dynamic[1 << 20];
}

namespace emulator {
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
char *arena;

// The library of a kernel: all of it, and its variables. A __shared__ variable is one of these.
struct Image {
    const char *low = nullptr;
    const char *high = nullptr;
    const char *variables = nullptr;
    const char *variables_end = nullptr;
};

Image library;              // of the running kernel
std::vector<Cell> shared;   // one a byte of the library's variables
std::vector<Cell> dynamic;  // one a byte of dynamic shared memory

bool within(const void *address, const void *low, const void *high)
{
    return address >= low && address < high;
}

#ifdef __APPLE__
Image image_around(const void *inside)
{
    Dl_info found;
    dladdr(inside, &found);
    const auto *header = static_cast<const mach_header_64 *>(found.dli_fbase);
    unsigned long size = 0;
    const auto *variables = reinterpret_cast<const char *>(getsegmentdata(header, "__DATA", &size));
    return {static_cast<const char *>(found.dli_fbase), variables + size, variables, variables + size};
}
#else
struct Search {
    const void *inside;
    Image image;
};

int is_image(dl_phdr_info *found, std::size_t, void *argument)
{
    auto &search = *static_cast<Search *>(argument);
    search.image = Image();
    for (int i = 0; i < found->dlpi_phnum; ++i) {
        const auto &part = found->dlpi_phdr[i];
        if (part.p_type != PT_LOAD)
            continue;
        const char *low = reinterpret_cast<const char *>(found->dlpi_addr + part.p_vaddr);
        const char *high = low + part.p_memsz;
        if (!search.image.low)
            search.image.low = low;
        search.image.high = high;
        if (part.p_flags & PF_W) {
            search.image.variables = low;
            search.image.variables_end = high;
        }
    }
    return within(search.inside, search.image.low, search.image.high);
}

Image image_around(const void *inside)
{
    Search search{inside, {}};
    dl_iterate_phdr(is_image, &search);
    return search.image;
}
#endif

const char *verb(Access access)
{
    return access == READ ? "reads" : access == WRITE ? "writes" : "changes";
}

// Names an element in a message; without a name it is a byte of shared memory.
const char *element(const char *name, long long index)
{
    static char text[128];
    if (!name)
        return "shared memory";
    std::snprintf(text, sizeof text, "%s[%lld]", name, index);
    return text;
}

[[noreturn]] void refuse_race(Access access, const char *what, const Record &other, const char *did)
{
    if (other.spread == GRID_MATES || other.other_block())
        refuse("%s %s, which another block %s", verb(access), what, did);
    if (other.thread == now.thread)
        refuse("%s %s, which other threads too %s with no barrier between", verb(access), what, did);
    refuse("%s %s, which thread %u %s with no barrier between", verb(access), what, unsigned(other.thread), did);
}

inline void touch(Cell &cell, Access access, const char *name, long long index)
{
    const bool both_atomic = access == ATOMIC && cell.written.atomic;
    if (access != WRITE && cell.written.spread == NOBODY)
        refuse("%s %s, which nothing wrote", verb(access), element(name, index));
    if (!both_atomic && cell.written.unordered())
        refuse_race(access, element(name, index), cell.written, "wrote");
    if (access == READ)
        return cell.read.add(false);
    if (cell.read.unordered())
        refuse_race(access, element(name, index), cell.read, "read");
    if (both_atomic)
        return cell.written.add(true);
    cell.written = Record(access == ATOMIC);
}

[[noreturn]] void refuse_stray(Access access)
{
    refuse("%s memory of no argument", verb(access));
}

void touch_argument(const char *address, std::size_t size, Access access)
{
    Argument &argument = arguments[(address - arena) >> STRETCH_BITS];
    if (!argument.data)
        refuse_stray(access);
    const char *name = argument.name.c_str();
    const std::size_t offset = address - argument.data;
    if (offset >= argument.size || size > argument.size - offset) {
        const long long bytes = address - argument.data, item = argument.item;
        const long long index = bytes >= 0 ? bytes / item : -((item - 1 - bytes) / item);
        refuse("%s %s, outside of its %zu elements", verb(access), element(name, index), argument.size / argument.item);
    }
    const std::size_t first = offset / argument.item;
    const std::size_t last = (offset + size - 1) / argument.item;
    if (argument.constant && access != READ)
        refuse("%s %s, which is const", verb(access), element(name, first));
    if (!argument.cells.empty())
        for (std::size_t i = first; i <= last; ++i)
            touch(argument.cells[i], access, name, i);
}

void touch_shared(Cell *cells, std::size_t size, Access access)
{
    Cell before, after;
    for (std::size_t i = 0; i < size; ++i) {
        Cell &cell = cells[i];
        // The bytes of a number have mostly been touched together.
        if (i > 0 && !std::memcmp(&cell, &before, sizeof cell)) {
            cell = after;
            continue;
        }
        before = cell;
        // The shared memory of an earlier block was another.
        if (cell.written.other_block())
            cell.written = Record();
        if (cell.read.other_block())
            cell.read = Record();
        touch(cell, access, nullptr, 0);
        after = cell;
    }
}

void touch_dynamic(std::size_t offset, std::size_t size, Access access)
{
    if (offset + size > dynamic.size())
        refuse("%s byte %zu of dynamic shared memory, outside of its %zu bytes", verb(access), offset, dynamic.size());
    touch_shared(&dynamic[offset], size, access);
}

template <typename Variable>
bool within(const void *address, const Variable &variable)
{
    return within(address, &variable, &variable + 1);
}

// The thread's stack, constants of the kernel, and the place in the grid.
void touch_own(const void *address, Access access)
{
    if (within(address, stack.low, stack.high))
        return;
    if (access == READ &&
        (within(address, library.low, library.high) || within(address, threadIdx) || within(address, blockIdx) ||
         within(address, blockDim) || within(address, gridDim)))
        return;
    refuse_stray(access);
}

}  // namespace

void touch(const void *pointer, std::size_t size, Access access, const void *instruction)
{
    const char *address = static_cast<const char *>(pointer);
    unsigned space = SHARED_SPACE;
    if (std::size_t(address - arena) < ARGUMENTS * STRETCH) {
        touch_argument(address, size, access);
        space = (address - arena) >> STRETCH_BITS;
    } else if (within(address, library.variables, library.variables_end - size + 1))
        touch_shared(&shared[address - library.variables], size, access);
    else if (within(address, emulator_dynamic))
        touch_dynamic(address - emulator_dynamic, size, access);
    else
        return touch_own(address, access);
    if (counting == COUNT)
        count(space, address, size, access, instruction);
}

void refuse_misaligned(bool reads, const void *address, std::size_t size)
{
    const Access access = reads ? READ : WRITE;
    touch(address, 1, access, nullptr);
    refuse("%s %zu bytes at an address that is no multiple of %zu", verb(access), size, size);
}

void begin_shared(Enter kernel, std::size_t bytes)
{
    const void *inside = reinterpret_cast<const void *>(kernel);
    if (!within(inside, library.low, library.high))
        library = image_around(inside);
    shared.assign(library.variables_end - library.variables, Cell());
    dynamic.assign(bytes, Cell());
}

void atomic(const void *address, std::size_t size)
{
    touch(address, size, ATOMIC, __builtin_return_address(0));
}

}  // namespace emulator

using namespace emulator;

// Makes room for an argument behind those of lower numbers, and for no other; returns its address, or null where there
// is no room. It is `offset` bytes past a multiple of all alignments. `unwritten` marks the elements that nothing wrote so far, one byte each; null: none.
extern "C" void *emulator_place(
    unsigned number,
    const char *name,
    std::size_t size,
    std::size_t offset,
    std::size_t item,
    int constant,
    const unsigned char *unwritten)
{
    if (!arena) {
        void *memory = mmap(nullptr, ARGUMENTS * STRETCH, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            return nullptr;
        arena = static_cast<char *>(memory);
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
extern "C" std::size_t emulator_unwritten(unsigned number, std::size_t *first)
{
    const auto nobody = [](const Cell &cell) { return cell.written.spread == NOBODY; };
    const auto &cells = arguments[number].cells;
    *first = std::find_if(cells.begin(), cells.end(), nobody) - cells.begin();
    return std::count_if(cells.begin(), cells.end(), nobody);
}

// Returns the size of those variables of the running kernel's library, at given offsets and of given sizes, that its
// last pass touched.
extern "C" std::size_t emulator_touched(std::size_t count, const std::size_t *offsets, const std::size_t *sizes)
{
    const auto touched = [](const Cell &cell) { return cell.written.spread != NOBODY; };
    std::size_t size = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const char *variable = library.low + offsets[i];
        // Others are constants.
        if (!within(variable, library.variables, library.variables_end - sizes[i] + 1))
            continue;
        const Cell *first = &shared[variable - library.variables];
        if (std::any_of(first, first + sizes[i], touched))
            size += sizes[i];
    }
    return size;
}

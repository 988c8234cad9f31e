// The functions that the compiler calls from a kernel: before every access to memory and around functions
// (-fsanitize=thread), at shifts and divisions whose result is undefined (-fsanitize=shift-exponent,integer-divide-by-zero),
// and, for counts only, in every block of code (-fsanitize-coverage=trace-pc).

#include "counts.h"
#include "vectors.h"

#include <cstring>

using namespace emulator;

// The instruction behind the call of the function in which this stands.
#define CALLER __builtin_return_address(0)

namespace {

// Refuses an address of which the compiler knows that it is a multiple of the size, on a GPU as here.
inline void touch_aligned(const void *address, std::size_t size, Access access, const void *instruction)
{
    if (reinterpret_cast<std::uintptr_t>(address) % size)
        refuse_misaligned(access == READ, address, size);
    touch(address, size, access, instruction);
}

// A shift, as the compiler describes it, and its place in the source.
struct Shift {
    const char *file;
    unsigned line;
    unsigned column;
    const struct {
        std::uint16_t kind;
        std::uint16_t info;  // 2 log2(bits), plus 1 if signed
    } *shifted, *by;
};

}  // namespace

extern "C" {
void __tsan_init() {}

void __tsan_func_entry(const void *caller)
{
    if (counting)
        enter_function(caller);
}

void __tsan_func_exit()
{
    if (counting)
        leave_function();
}

void __sanitizer_cov_trace_pc()
{
    if (counting)
        enter_code(CALLER);
}

#define ANNOUNCED(touch, kind, size)                                                             \
    void __tsan_##kind##read##size(const void *address) { touch(address, size, READ, CALLER); }   \
    void __tsan_##kind##write##size(const void *address) { touch(address, size, WRITE, CALLER); }
ANNOUNCED(touch, , 1)
ANNOUNCED(touch_aligned, , 2)
ANNOUNCED(touch_aligned, , 4)
ANNOUNCED(touch_aligned, , 8)
// Two numbers of 8 bytes, too, are announced like this; vectors.h checks the alignment of vectors.
ANNOUNCED(touch, , 16)
ANNOUNCED(touch, unaligned_, 2)
ANNOUNCED(touch, unaligned_, 4)
ANNOUNCED(touch, unaligned_, 8)
ANNOUNCED(touch, unaligned_, 16)
#undef ANNOUNCED

void __tsan_read_range(const void *address, std::size_t size)
{
    touch(address, size, READ, CALLER);
}

void __tsan_write_range(const void *address, std::size_t size)
{
    touch(address, size, WRITE, CALLER);
}

void *__tsan_memcpy(void *to, const void *from, std::size_t size)
{
    touch(from, size, READ, CALLER);
    touch(to, size, WRITE, CALLER);
    return std::memcpy(to, from, size);
}

void *__tsan_memmove(void *to, const void *from, std::size_t size)
{
    touch(from, size, READ, CALLER);
    touch(to, size, WRITE, CALLER);
    return std::memmove(to, from, size);
}

void *__tsan_memset(void *to, int value, std::size_t size)
{
    touch(to, size, WRITE, CALLER);
    return std::memset(to, value, size);
}

// The compiler calls this before a shift by a negative number or by as many bits as there are; PTX gives 0 for it, the
// CPU shifts by the remainder, C++ leaves it undefined.
void __ubsan_handle_shift_out_of_bounds(const Shift *shift, std::size_t, std::size_t by)
{
    const unsigned unused = 64 - (1u << (shift->by->info >> 1));
    const long long count =
        shift->by->info & 1 ? static_cast<long long>(by << unused) >> unused : static_cast<long long>(by);
    refuse(
        "shifts %u bits by %lld in line %u of %s", 1u << (shift->shifted->info >> 1), count, shift->line, shift->file);
}

// The same for a division of integers.
void __ubsan_handle_divrem_overflow(const Shift *division, std::size_t, std::size_t)
{
    refuse("divides by 0, or the least integer by -1, in line %u of %s", division->line, division->file);
}
}

// Blocks one after another, and the threads of a block: as plain calls, or as fibers where they have to wait.
//
// A fiber begins on a stack of its own by makecontext and goes on by _longjmp, which, unlike swapcontext, asks nothing
// of the system. It serves one thread after another; a refused pass leaves its fibers where they are, to begin anew.

#ifdef __APPLE__
#define _XOPEN_SOURCE 700
#define _DARWIN_C_SOURCE
#endif

#include "counts.h"
#include "flush.h"
#include "order.h"
#include "state.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace emulator {

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
Now now;
Stack stack;
unsigned block_number;

namespace {

constexpr std::size_t STACK = 256 << 10;
// What a thread without a fiber may use of the caller's stack.
constexpr std::size_t CALLERS_STACK = 4 << 20;
constexpr std::size_t MOST_THREADS = 1024;

constexpr const char *NAMES[] = {
    "__syncthreads()", "__syncthreads_count()", "__syncthreads_and()", "__syncthreads_or()",
    "__syncwarp()",    "__shfl_sync()",         "__shfl_up_sync()",    "__shfl_down_sync()",
    "__shfl_xor_sync()", "__ballot_sync()",     "__any_sync()",        "__all_sync()",
    "__reduce_add_sync()", "__reduce_min_sync()", "__reduce_max_sync()",
    "__reduce_and_sync()", "__reduce_or_sync()", "__reduce_xor_sync()",
};

enum State { READY, WAITING, OVER };

struct Fiber {
    jmp_buf here;
    ucontext_t start;
    Stack stack;
    bool begun = false;
    State state = OVER;
    std::uint32_t time = 0;
    Wait wait;
    int line;
    unsigned mask;
    std::uint64_t value;
    Exchange exchange;  // of the lanes that were released together with this one as the first
    const Exchange *received;
};

Fiber *fibers;  // never given back
jmp_buf scheduler, door;
Enter kernel;
Launch *launch;
unsigned threads;
Fiber *running;

[[noreturn]] void refuse_launch(const char *format, unsigned number, const char *text)
{
    std::snprintf(launch->message, sizeof launch->message, format, number, text);
    _longjmp(door, REFUSED);
}

void make_fibers()
{
    const std::size_t guard = sysconf(_SC_PAGESIZE);
    const std::size_t each = guard + STACK;
    void *memory = mmap(nullptr, MOST_THREADS * each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (memory == MAP_FAILED)
        refuse_launch("there is no memory for the stacks of %u threads", MOST_THREADS, "");
    fibers = new Fiber[MOST_THREADS];
    for (std::size_t i = 0; i < MOST_THREADS; ++i) {
        char *low = static_cast<char *>(memory) + i * each;
        mprotect(low, guard, PROT_NONE);
        fibers[i].stack = {low + guard, low + each};
    }
}

Order blocks, turns;

uint3 position(unsigned number, const dim3 &size)
{
    return {number % size.x, number / size.x % size.y, number / size.x / size.y};
}

std::vector<uint3> positions;  // of the threads of a block

void enter(unsigned thread, std::uint32_t time)
{
    now.thread = thread;
    now.time = time;
    threadIdx = positions[thread];
}

void fiber_main()
{
    for (;;) {
        kernel(launch->arguments);
        running->state = OVER;
        if (!_setjmp(running->here))
            _longjmp(scheduler, 1);
    }
}

void resume(unsigned thread)
{
    Fiber &fiber = fibers[thread];
    running = &fiber;
    stack = fiber.stack;
    enter(thread, fiber.time);
    if (_setjmp(scheduler))
        return;
    if (fiber.begun)
        _longjmp(fiber.here, 1);
    fiber.begun = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = const_cast<char *>(fiber.stack.low);
    fiber.start.uc_stack.ss_size = fiber.stack.high - fiber.stack.low;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, fiber_main, 0);
    setcontext(&fiber.start);
}

void wait_here(Wait wait, int line, unsigned mask, std::uint64_t value)
{
    Fiber &fiber = *running;
    fiber.state = WAITING;
    fiber.wait = wait;
    fiber.line = line;
    fiber.mask = mask;
    fiber.value = value;
    if (!_setjmp(fiber.here))
        _longjmp(scheduler, 1);
}

bool release_block()
{
    std::uint64_t count = 0;
    for (unsigned t = 0; t < threads; ++t) {
        const Fiber &fiber = fibers[t];
        if (fiber.state != WAITING || fiber.wait > SYNCTHREADS_OR)
            return false;
        if (fiber.wait != fibers[0].wait || fiber.line != fibers[0].line)
            return false;
        count += fiber.value;
    }
    ++now.interval;
    if (counting)
        end_accesses();
    for (unsigned t = 0; t < threads; ++t) {
        fibers[t].state = READY;
        fibers[t].value = count;
    }
    return true;
}

// The lanes of a warp that wait for the same as a given one, if these are all that its mask names and have not ended.
unsigned together(const Fiber *warp, unsigned size, const Fiber &first)
{
    unsigned lanes = 0;
    for (unsigned lane = 0; lane < size; ++lane) {
        const Fiber &fiber = warp[lane];
        if (!(first.mask >> lane & 1) || fiber.state == OVER)
            continue;
        if (fiber.state != WAITING || fiber.wait != first.wait || fiber.mask != first.mask)
            return 0;
        lanes |= 1u << lane;
    }
    return lanes;
}

bool release_warp(Fiber *warp, unsigned size)
{
    bool any = false;
    for (unsigned first = 0; first < size; ++first) {
        if (warp[first].state != WAITING || warp[first].wait < SYNCWARP)
            continue;
        const unsigned released = together(warp, size, warp[first]);
        if (!released)
            continue;
        // All lanes read it before any is released again.
        Exchange &exchange = warp[first].exchange;
        exchange.lanes = released;
        std::uint32_t time = 0;
        for (unsigned lane = 0; lane < size; ++lane) {
            exchange.values[lane] = warp[lane].value;
            time = std::max(time, warp[lane].time + 1);
        }
        if (time >> TIME_BITS)
            refuse_launch("block %u calls __syncwarp() more often than the emulator can count", block_number, "");
        for (unsigned lane = 0; lane < size; ++lane)
            if (released >> lane & 1) {
                // Shuffles and votes put no order into memory.
                if (warp[lane].wait == SYNCWARP)
                    warp[lane].time = time;
                warp[lane].received = &exchange;
                warp[lane].state = READY;
            }
        any = true;
    }
    return any;
}

bool release()
{
    bool any = release_block();
    for (unsigned t = 0; t < threads; t += WARP)
        any |= release_warp(&fibers[t], std::min(WARP, threads - t));
    return any;
}

std::string counted(unsigned count)
{
    return std::to_string(count) + (count == 1 ? " thread " : " threads ");
}

[[noreturn]] void refuse_stall()
{
    static std::string waits;  // refuse does not return to free it
    waits.clear();
    unsigned over = 0;
    const Fiber *const begin = fibers, *const end = fibers + threads;
    for (const Fiber *each = begin; each < end; ++each) {
        const Fiber &fiber = *each;
        const auto alike = [&](const Fiber &other) {
            return other.state == WAITING && other.wait == fiber.wait && other.line == fiber.line;
        };
        over += fiber.state == OVER;
        if (fiber.state == OVER || std::any_of(begin, &fiber, alike))
            continue;
        const unsigned count = std::count_if(&fiber, end, alike);
        waits += counted(count) + (count == 1 ? "waits at " : "wait at ") + NAMES[fiber.wait] + " in line " +
                 std::to_string(fiber.line) + ", ";
    }
    waits += counted(over) + (over == 1 ? "has ended" : "have ended");
    refuse_launch("block %u stands still: %s", block_number, waits.c_str());
}

void run_fibers()
{
    for (unsigned t = 0; t < threads; ++t) {
        fibers[t].state = READY;
        fibers[t].time = 0;
    }
    for (;;) {
        for (const unsigned t : turns)
            if (fibers[t].state == READY)
                resume(t);
        if (std::all_of(fibers, fibers + threads, [](const Fiber &fiber) { return fiber.state == OVER; }))
            break;
        if (!release())
            refuse_stall();
        turns.again();
    }
    if (counting)
        end_accesses();
}

void run_block()
{
    now.first = ++now.interval;
    blockIdx = position(block_number, launch->grid);
    turns.begin(threads, launch->order);
    if (counting)
        begin_block();
    if (launch->fibers)
        run_fibers();
    else
        for (const unsigned t : turns) {
            enter(t, 0);
            kernel(launch->arguments);
            if (counting && (t % WARP == WARP - 1 || t == threads - 1))
                end_accesses();
        }
}

Outcome run_pass()
{
    blockDim = launch->block;
    gridDim = launch->grid;
    threads = blockDim.x * blockDim.y * blockDim.z;
    now = Now();
    const char *here = static_cast<const char *>(__builtin_frame_address(0));
    stack = {here - CALLERS_STACK, here};
    const int outcome = _setjmp(door);
    if (outcome) {
        // The fibers of a refused pass hang in the middle of the kernel.
        for (std::size_t t = 0; fibers && t < MOST_THREADS; ++t)
            fibers[t].begun = false;
        return static_cast<Outcome>(outcome);
    }
    if (launch->fibers && !fibers)
        make_fibers();
    positions.resize(threads);
    for (unsigned t = 0; t < threads; ++t)
        positions[t] = position(t, launch->block);
    begin_shared(kernel, launch->shared);
    begin_counting(static_cast<Counting>(launch->counting));
    blocks.begin(gridDim.x * gridDim.y * gridDim.z, launch->order);
    for (const unsigned number : blocks) {
        block_number = number;
        run_block();
    }
    return ENDED;
}

}  // namespace

void refuse(const char *format, ...)
{
    const std::size_t room = sizeof launch->message;
    const int used =
        std::snprintf(launch->message, room, "thread %u of block %u ", unsigned(now.thread), block_number);
    va_list values;
    va_start(values, format);
    std::vsnprintf(launch->message + used, room - used, format, values);
    va_end(values);
    _longjmp(door, REFUSED);
}

Outcome run(Enter entered, Launch &asked)
{
    const Flushing flushing(asked.flush);
    kernel = entered;
    launch = &asked;
    const Outcome outcome = run_pass();
    counting = OFF;
    return outcome;
}

unsigned wait_for_block(Wait wait, int line, bool predicate)
{
    if (!launch->fibers)
        _longjmp(door, NEEDS_FIBERS);
    wait_here(wait, line, 0, predicate);
    return running->value;
}

const Exchange &wait_for_warp(Wait wait, int line, unsigned mask, std::uint64_t value)
{
    if (!launch->fibers)
        _longjmp(door, NEEDS_FIBERS);
    if (!(mask >> lane() & 1))
        refuse("calls %s in line %d with a mask that leaves it out, 0x%08x", NAMES[wait], line, mask);
    wait_here(wait, line, mask, value);
    return *running->received;
}

unsigned lane()
{
    return now.thread % WARP;
}

unsigned lanes()
{
    const unsigned left = threads - now.thread / WARP * WARP;
    return left < WARP ? (1u << left) - 1 : 0xffffffff;
}

void fence()
{
    now.fenced = true;
}

}  // namespace emulator

// Returns whether the CPU can flush subnormal numbers to 0.
extern "C" int emulator_flushes()
{
    return emulator::Flushing::possible;
}

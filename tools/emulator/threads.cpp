// Blocks one after another, and the threads of a block: as plain calls, or as fibers where they have to wait.
//
// A fiber begins on a stack of its own by makecontext and goes on by _longjmp, which, unlike swapcontext, asks nothing
// of the system. It serves one thread after another; a refused pass leaves its fibers where they are, to begin anew.

#include "order.h"
#include "state.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace machine {

Three tid, ctaid, ntid, nctaid;
unsigned threads;
Now now;
unsigned block_number;

namespace {

constexpr std::size_t STACK = 1 << 20;
constexpr std::size_t MOST_THREADS = 1024;

enum State { READY, WAITING, OVER };

struct Fiber {
    jmp_buf here;
    ucontext_t start;
    char *stack;
    bool begun = false;
    State state = OVER;
    std::uint32_t time = 0;
    Wait wait;
    unsigned site;
    std::uint32_t mask;
    std::uint32_t value;
    Exchange exchange;  // of the lanes that were released together with this one as the first
    const Exchange *received;
};

Fiber *fibers;  // never given back
jmp_buf scheduler, door;
Launch *launch;
Fiber *running;

[[noreturn]] void refuse_launch(const char *format, unsigned number, const char *text)
{
    std::snprintf(launch->message, sizeof launch->message, format, number, text);
    _longjmp(door, 1);
}

void make_fibers()
{
    const std::size_t guard = sysconf(_SC_PAGESIZE);
    const std::size_t each = guard + STACK;
    void *memory = mmap(nullptr, MOST_THREADS * each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        refuse_launch("there is no memory for the stacks of %u threads", MOST_THREADS, "");
    fibers = new Fiber[MOST_THREADS];
    for (std::size_t i = 0; i < MOST_THREADS; ++i) {
        char *low = static_cast<char *>(memory) + i * each;
        mprotect(low, guard, PROT_NONE);
        fibers[i].stack = low + guard;
    }
}

Order blocks, turns;

Three position(unsigned number, const Three &size)
{
    return {number % size.x, number / size.x % size.y, number / size.x / size.y};
}

std::vector<Three> positions;  // of the threads of a block

void enter(unsigned thread, std::uint32_t time)
{
    now.thread = thread;
    now.time = time;
    tid = positions[thread];
}

void fiber_main()
{
    for (;;) {
        launch->kernel(launch->parameters);
        running->state = OVER;
        if (!_setjmp(running->here))
            _longjmp(scheduler, 1);
    }
}

void resume(unsigned thread)
{
    Fiber &fiber = fibers[thread];
    running = &fiber;
    enter(thread, fiber.time);
    if (_setjmp(scheduler))
        return;
    if (fiber.begun)
        _longjmp(fiber.here, 1);
    fiber.begun = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack;
    fiber.start.uc_stack.ss_size = STACK;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, fiber_main, 0);
    setcontext(&fiber.start);
}

void wait_here(unsigned site, Wait wait, std::uint32_t mask, std::uint32_t value)
{
    Fiber &fiber = *running;
    fiber.state = WAITING;
    fiber.wait = wait;
    fiber.site = site;
    fiber.mask = mask;
    fiber.value = value;
    if (!_setjmp(fiber.here))
        _longjmp(scheduler, 1);
}

bool release_block()
{
    unsigned count = 0;
    for (unsigned t = 0; t < threads; ++t) {
        const Fiber &fiber = fibers[t];
        if (fiber.state != WAITING || fiber.wait != BLOCK || fiber.site != fibers[0].site)
            return false;
        count += fiber.value;
    }
    ++now.interval;
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
        if (warp[first].state != WAITING || warp[first].wait == BLOCK)
            continue;
        const unsigned released = together(warp, size, warp[first]);
        if (!released)
            continue;
        for (unsigned lane = 0; warp[first].wait == SYNC && lane < size; ++lane)
            if (!(released >> lane & 1) && warp[lane].state != OVER)
                refuse_launch("block %u calls __syncwarp() for %s", block_number, "a part of a warp, which is not known here");
        // All lanes read it before any is released again.
        Exchange &exchange = warp[first].exchange;
        exchange.lanes = released;
        std::uint32_t time = 0;
        for (unsigned lane = 0; lane < size; ++lane) {
            exchange.values[lane] = warp[lane].value;
            time = std::max(time, warp[lane].time + 1);
        }
        if (time >> TIME_BITS)
            refuse_launch("block %u calls __syncwarp() more often than can be counted", block_number, "");
        for (unsigned lane = 0; lane < size; ++lane)
            if (released >> lane & 1) {
                // Shuffles and votes put no order into memory.
                if (warp[lane].wait == SYNC)
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
            return other.state == WAITING && other.site == fiber.site;
        };
        over += fiber.state == OVER;
        if (fiber.state == OVER || std::any_of(begin, &fiber, alike))
            continue;
        const unsigned count = std::count_if(&fiber, end, alike);
        waits += counted(count) + (count == 1 ? "waits at " : "wait at ") + "#" + std::to_string(fiber.site) + ", ";
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
}

void run_block()
{
    now.first = ++now.interval;
    now.all_fenced = now.all_fenced && now.fenced;
    now.fenced = false;
    ctaid = position(block_number, launch->grid);
    turns.begin(threads, launch->order);
    if (launch->fibers)
        run_fibers();
    else
        for (const unsigned t : turns) {
            enter(t, 0);
            launch->kernel(launch->parameters);
        }
    if (counting)
        end_accesses();
}

int run_pass()
{
    ntid = launch->block;
    nctaid = launch->grid;
    threads = ntid.x * ntid.y * ntid.z;
    now = Now();
    if (_setjmp(door)) {
        // The fibers of a refused pass hang in the middle of the kernel.
        for (std::size_t t = 0; fibers && t < MOST_THREADS; ++t)
            fibers[t].begun = false;
        return 1;
    }
    if (launch->fibers && !fibers)
        make_fibers();
    positions.resize(threads);
    for (unsigned t = 0; t < threads; ++t)
        positions[t] = position(t, launch->block);
    begin_shared(launch->shared, launch->variables);
    begin_counting(launch->counting);
    blocks.begin(nctaid.x * nctaid.y * nctaid.z, launch->order);
    for (const unsigned number : blocks) {
        block_number = number;
        run_block();
    }
    return 0;
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
    _longjmp(door, 1);
}

unsigned wait_for_block(unsigned site, bool predicate)
{
    wait_here(site, BLOCK, 0, predicate);
    return running->value;
}

const Exchange &wait_for_warp(unsigned site, Wait wait, std::uint32_t mask, std::uint32_t value)
{
    if (!(mask >> lane() & 1))
        refuse("names lanes without its own, 0x%08x (#%u)", mask, site);
    wait_here(site, wait, mask, value);
    return *running->received;
}

Vote vote(unsigned site, std::uint32_t mask, bool predicate)
{
    const Exchange &all = wait_for_warp(site, VOTE, mask, predicate);
    Vote found{all.lanes, 0};
    for (unsigned i = 0; i < WARP; ++i)
        found.ballot |= (all.lanes >> i & 1 && all.values[i]) << i;
    return found;
}

// By the description of shfl.sync in NVIDIA's manual of PTX.
std::uint32_t shuffle(
    unsigned site, Wait kind, std::uint32_t mask, std::uint32_t value, std::uint32_t by, std::uint32_t clamp, bool &valid)
{
    const Exchange &all = wait_for_warp(site, kind, mask, value);
    const unsigned segment = clamp >> 8 & 31, here = lane();
    const int most = (here & segment) | (clamp & 31 & ~segment);
    const int from = kind == SHUFFLE_UP     ? int(here) - int(by & 31)
                     : kind == SHUFFLE_DOWN ? int(here + (by & 31))
                     : kind == SHUFFLE_BFLY ? int(here ^ (by & 31))
                                            : int((here & segment) | (by & 31 & ~segment));
    valid = kind == SHUFFLE_UP ? from >= most : from <= most;
    const unsigned source = valid ? from : here;
    if (!(all.lanes >> source & 1))
        refuse("takes a number of lane %u, which takes no part (#%u)", source, site);
    return all.values[source];
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

float fma_down(float a, float b, float c)
{
    std::fesetround(FE_DOWNWARD);
    volatile float x = a, y = b, z = c;
    volatile float result = std::fma(x, y, z);
    std::fesetround(FE_TONEAREST);
    return result;
}

float near(double exact)
{
    float result = static_cast<float>(exact);
    if (launch->perturbed && std::isfinite(result)) {
        std::uint32_t hash = __builtin_bit_cast(std::uint32_t, result) * 0x9E3779B1u;
        for (hash = (hash ^ hash >> 15) % 5; hash != 2; hash += hash < 2 ? 1 : -1)
            result = std::nextafter(result, hash < 2 ? -INFINITY : INFINITY);
    }
    return result;
}

}  // namespace machine

// Runs a kernel once over its grid; returns whether it was refused.
extern "C" int machine_run(machine::Launch *asked)
{
    machine::launch = asked;
    const int refused = machine::run_pass();
    machine::counting = false;
    return refused;
}

/* Runs the self-test of a network on a Cortex-M4 without an operating system, and ends the emulator with its result. */
#include <stdint.h>

#include "net.h"

extern uint32_t stack_top, data_from, data_start, data_end, bss_start, bss_end;
int main(void);

/* Semihosting: print a text, and leave the emulator, with 0 for success. */
static void call(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void start(void)
{
    uint32_t *from = &data_from;
    volatile uint32_t *access = (volatile uint32_t *)0xE000ED88u;
    *access |= 0xFu << 20; /* the floating-point unit */
    for (uint32_t *to = &data_start; to < &data_end; to++)
        *to = *from++;
    for (uint32_t *to = &bss_start; to < &bss_end; to++)
        *to = 0;
    const int wrong = main();
    call(0x04, wrong ? "self-test: differs\n" : "self-test: 0 differ\n");
    call(0x18, (const void *)(wrong ? 0x20024 : 0x20026));
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = { &stack_top, (const void *)start };

int main(void)
{
    return net_selftest();
}

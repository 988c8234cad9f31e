/* Classifies a live source: reads events, "microseconds x y polarity" on a line, and prints each step in which outputs
   fire. A step ends when an event after it arrives. -D sets STEP (microseconds), WIDTH and CHANNELS. */
#include <stdio.h>
#include <string.h>

#include "net.h"

static net_state state;
static uint8_t fires[net_inputs];
static net_index events[net_inputs], outputs[net_outputs];

static void take_step(unsigned long step)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < net_inputs; i++)
        if (fires[i])
            events[count++] = (net_index)i;
    memset(fires, 0, sizeof fires);
    const uint32_t fired = net_step(&state, events, count, outputs);
    if (fired == 0)
        return;
    printf("%lu", step);
    for (uint32_t k = 0; k < fired; k++)
        printf(" %lu", (unsigned long)outputs[k]);
    printf("\n");
    fflush(stdout);
}

int main(void)
{
    unsigned long step = 0, time, x, y, polarity;
    net_reset(&state);
    while (scanf("%lu %lu %lu %lu", &time, &x, &y, &polarity) == 4) {
        for (; step < time / STEP; step++)
            take_step(step);
        if (x < WIDTH && y < net_inputs / (WIDTH * CHANNELS) && polarity < CHANNELS)
            fires[(y * WIDTH + x) * CHANNELS + polarity] = 1;
    }
    take_step(step);
    return 0;
}

/* The processor's time-stamp counter, and a trace's time by it. */
#ifndef VMRUN_TSC_H
#define VMRUN_TSC_H

#include <stdint.h>

static inline uint64_t tsc_now(void)
{
    uint32_t low, high;

    /* No fence: the loop stands between two system calls, which order it well enough for nanoseconds. */
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

/* In two steps of 64 bits: one of 128 bits costs several times as much. A TSC before the start counts as the start. */
static inline int64_t nanoseconds(uint64_t tsc, uint64_t start, uint64_t khz)
{
    uint64_t ticks = tsc > start ? tsc - start : 0;

    return (int64_t)(ticks / khz * 1000000 + ticks % khz * 1000000 / khz);
}

#endif

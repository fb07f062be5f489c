/* Waiting for a word that another thread changes, possibly in memory shared with another process (futex(2)). */
#ifndef VMRUN_FUTEX_H
#define VMRUN_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleep unless the word already has another value. Returns at a wake, at a signal, and after 100 ms. */
static inline void futex_wait(uint32_t *word, uint32_t value)
{
    const struct timespec limit = {.tv_nsec = 100000000};

    syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0);
}

/* Wake `count` sleepers. */
static inline void futex_wake(uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

/* The low half of a counter, which changes whenever the counter does (little-endian). */
static inline uint32_t *low(uint64_t *word)
{
    return (uint32_t *)word;
}

#endif

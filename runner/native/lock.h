/* A lock for a few instructions, cheaper than a mutex. A waiter sleeps, so a preempted holder with a lower real-time
 * priority can continue. */
#ifndef VMRUN_LOCK_H
#define VMRUN_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "futex.h"

enum { FREE, HELD, WANTED }; /* WANTED: held, and a thread may sleep for it */

static inline void lock(uint32_t *word)
{
    uint32_t state = FREE;

    if (__atomic_compare_exchange_n(word, &state, HELD, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(word, WANTED, __ATOMIC_ACQUIRE) != FREE)
        futex_wait(word, WANTED);
}

static inline void unlock(uint32_t *word)
{
    if (__atomic_exchange_n(word, FREE, __ATOMIC_RELEASE) == WANTED)
        futex_wake(word, 1);
}

#endif

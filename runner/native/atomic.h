/* Words that one thread publishes and others read. */
#ifndef VMRUN_ATOMIC_H
#define VMRUN_ATOMIC_H

#define LOAD(word) __atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#define COUNT(word) __atomic_fetch_add(&(word), 1, __ATOMIC_RELAXED)
#define STORE(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELEASE)

#endif

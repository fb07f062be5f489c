/* The ring of answered requests of virtio devices: many producers (workers, the device thread, vCPUs), and the recorder
 * as its consumer. It is a record ring whose records are requests. */
#ifndef VMRUN_REQUESTS_H
#define VMRUN_REQUESTS_H

#include "ring.h"
#include "virtqueue.h"

struct requests {
    struct ring ring; /* without a control block: nothing is recorded */
    uint32_t lock; /* of the producers */
};

/* Record into a ring at `base` from now on. No producer runs yet. */
void requests_init(struct requests *requests, void *base, uint64_t slots, uint32_t policy, int event);

/* The recorder has failed: no producer waits for room, now and later. */
void requests_close(struct requests *requests);

/* The bytes that a request is about; `written` were written for it. */
uint64_t requests_length(const struct virtqueue_chain *chain, uint32_t written);
/* Record a chain that is about to be given back with `written` bytes. The device has set what it was for. If the ring
 * is full, the caller waits, or the request is dropped and counted, as an exit is. */
void requests_record(struct requests *requests, const struct virtqueue_chain *chain, uint32_t device, uint32_t queue,
                     uint32_t written, uint64_t tsc_done);

/* Consumer: the next records in the order of tsc_done; returns the rows filled. rings_commit() frees their room. */
uint64_t requests_drain(struct ring *ring, uint64_t tsc_start, uint64_t tsc_khz, struct requests_columns *columns);

/* What a record costs, for the benchmark: `samples` gets the TSC cycles of each of n. */
void requests_benchmark(struct requests *requests, const struct virtqueue_chain *chain, uint32_t *samples, uint64_t n);

#endif

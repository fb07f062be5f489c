/* The record ring: one per vCPU thread, single producer (the vCPU loop) and single consumer (the recorder). */
#ifndef VMRUN_RING_H
#define VMRUN_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "record.h"

enum ring_policy {
    RING_WAIT,      /* a full ring stops its vCPU until the recorder has caught up */
    RING_DROP,      /* a full ring loses the exit and counts it */
    RING_OVERWRITE, /* nobody consumes: the newest records stay, for the crash report */
};

/* One ring in the mapping, as its producer and its consumer see it. */
struct ring {
    struct ring_control *control;
    struct ring_pause *pauses;
    struct record *slots;
    struct record record;  /* producer: the exit at hand; the consumer's cache has its slot */
    uint8_t *payload;
    uint64_t mask;         /* slots - 1 */
    uint64_t payload_mask; /* payload bytes - 1 */
    uint64_t cursor, payload_cursor; /* consumer: drained, not yet committed */
    uint32_t policy;       /* enum ring_policy */
    uint32_t closed;       /* the recorder has failed: do not wait for it, drop */
    int event;             /* eventfd: a quarter of the ring is full */
    uint32_t gap;          /* producer: exits were dropped since the last record */
    uint32_t paused;       /* producer: the machine was paused since the last record */
};

void ring_init(struct ring *ring, void *base, uint64_t slots, uint64_t payload_size, uint32_t policy, int event);

/* Producer of any records. Whether there is room for so many more; it waits if that is the policy. */
bool ring_room(struct ring *ring, uint64_t records, uint64_t bytes);
/* Make the record at head visible; then wake the consumer if that is due. */
void ring_advance(struct ring *ring);
void ring_advanced(const struct ring *ring);
/* The same for a record with so many bytes of payload. */
void ring_filled(const struct ring *ring, uint64_t bytes);
/* Copy bytes to a place of the payload, counted from the ring's begin, and from there. */
void ring_bytes_in(struct ring *ring, uint64_t place, const uint8_t *bytes, uint32_t length);
void ring_bytes_out(const struct ring *ring, uint64_t place, uint8_t *bytes, uint32_t length);

/* Producer of exits. ring_open gives the record of the exit at hand, or NULL where it had to be dropped; ring_payload
 * keeps data longer than eight bytes (false: no room, drop the exit by ring_cancel); ring_publish makes the record
 * visible. */
struct record *ring_open(struct ring *ring, uint64_t tsc);
bool ring_payload(struct ring *ring, struct record *record, const uint8_t *bytes, uint32_t length);
void ring_publish(struct ring *ring, struct record *record, uint64_t tsc);
void ring_cancel(struct ring *ring);
/* The vCPU thread stands still from `tsc` on, and until `tsc`. */
void ring_pause(struct ring *ring, uint64_t tsc);
void ring_resume(struct ring *ring, uint64_t tsc);
/* The recorder has failed: stop waiting for room, now and later. */
void ring_close(struct ring *ring);

/* Consumer: merge the rings' records in the order of tsc_exit into the columns; returns the rows filled. `now` is the
 * TSC, or UINT64_MAX to take everything published. */
uint64_t rings_drain(struct ring *rings, uint32_t n, uint64_t tsc_start, uint64_t tsc_khz, uint64_t now,
                     struct exits_columns *columns);
void rings_commit(struct ring *rings, uint32_t n);
/* Wait for the rings' eventfd, at most `milliseconds`. */
void rings_wait(int event, int milliseconds);

void ring_benchmark(struct ring *ring, uint32_t *samples, uint64_t n);

#endif

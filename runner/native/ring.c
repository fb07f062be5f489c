#define _GNU_SOURCE /* syscall */
#include "ring.h"

#include "atomic.h"
#include "futex.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void ring_init(struct ring *ring, void *base, uint64_t slots, uint64_t payload_size, uint32_t policy, int event)
{
    uint8_t *at = base;

    memset(ring, 0, sizeof *ring);
    ring->control = (struct ring_control *)at;
    ring->pauses = (struct ring_pause *)(at + PAUSES_AT);
    ring->slots = (struct record *)(at + VMRUN_PAGE);
    ring->payload = at + VMRUN_PAGE + slots * sizeof(struct record);
    ring->mask = slots - 1;
    ring->payload_mask = payload_size - 1;
    ring->policy = policy;
    ring->event = event;
}

static void signal_consumer(const struct ring *ring)
{
    uint64_t one = 1;

    /* A full eventfd counter means that the consumer is woken already. */
    if (ring->event >= 0 && write(ring->event, &one, sizeof one) < 0)
        return;
}

static bool has_room(const struct ring *ring, uint64_t records, uint64_t bytes)
{
    const struct ring_control *control = ring->control;

    return control->head + records - LOAD(control->tail) <= ring->mask + 1 &&
           control->payload_head + bytes - LOAD(control->payload_tail) <= ring->payload_mask + 1;
}

bool ring_room(struct ring *ring, uint64_t records, uint64_t bytes)
{
    struct ring_control *control = ring->control;
    bool found;

    if (ring->policy == RING_OVERWRITE || has_room(ring, records, bytes))
        return true;
    if (ring->policy == RING_DROP || LOAD(ring->closed))
        return false;
    control->waits++;
    signal_consumer(ring);
    /* Before the look at the tail, which wake() changes first. */
    __atomic_store_n(&control->waiting, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        uint32_t tail = (uint32_t)__atomic_load_n(&control->tail, __ATOMIC_SEQ_CST);
        found = has_room(ring, records, bytes);
        if (found || LOAD(ring->closed))
            break;
        futex_wait(low(&control->tail), tail);
    }
    STORE(control->waiting, 0);
    return found;
}

static void wake_producer(struct ring *ring)
{
    if (__atomic_load_n(&ring->control->waiting, __ATOMIC_SEQ_CST))
        futex_wake(low(&ring->control->tail), INT_MAX);
}

void ring_close(struct ring *ring)
{
    __atomic_store_n(&ring->closed, 1, __ATOMIC_SEQ_CST);
    wake_producer(ring);
}

void ring_advance(struct ring *ring)
{
    STORE(ring->control->head, ring->control->head + 1);
}

void ring_advanced(const struct ring *ring)
{
    if (ring->control->head - LOAD(ring->control->tail) == (ring->mask + 1) / 4)
        signal_consumer(ring);
}

struct record *ring_open(struct ring *ring, uint64_t tsc)
{
    struct record *record = &ring->record;

    STORE(ring->control->open, tsc);
    if (!ring_room(ring, 1, 0)) {
        ring->control->dropped++;
        ring->gap = 1;
        STORE(ring->control->open, 0);
        return NULL;
    }
    *record = (struct record){.tsc_exit = tsc, .device = -1};
    if (ring->gap) {
        record->flags |= FLAG_GAP;
        ring->gap = 0;
    }
    if (ring->paused) {
        record->flags |= FLAG_PAUSED;
        ring->paused = 0;
    }
    return record;
}

void ring_filled(const struct ring *ring, uint64_t bytes)
{
    uint64_t used = ring->control->payload_head - LOAD(ring->control->payload_tail);
    uint64_t quarter = (ring->payload_mask + 1) / 4;

    if (used >= quarter && used - bytes < quarter)
        signal_consumer(ring);
    else
        ring_advanced(ring);
}

/* The bytes from `at` on up to the end of the payload's memory, of so many. */
static uint64_t before_end(const struct ring *ring, uint64_t at, uint64_t length)
{
    uint64_t first = ring->payload_mask + 1 - at;

    return first < length ? first : length;
}

void ring_bytes_in(struct ring *ring, uint64_t place, const uint8_t *bytes, uint32_t length)
{
    uint64_t at = place & ring->payload_mask, first = before_end(ring, at, length);

    memcpy(ring->payload + at, bytes, first);
    memcpy(ring->payload, bytes + first, length - first);
}

void ring_bytes_out(const struct ring *ring, uint64_t place, uint8_t *bytes, uint32_t length)
{
    uint64_t at = place & ring->payload_mask, first = before_end(ring, at, length);

    memcpy(bytes, ring->payload + at, first);
    memcpy(bytes + first, ring->payload, length - first);
}

bool ring_payload(struct ring *ring, struct record *record, const uint8_t *bytes, uint32_t length)
{
    if (length > ring->payload_mask + 1 || !ring_room(ring, 1, length))
        return false;
    ring_bytes_in(ring, ring->control->payload_head, bytes, length);
    record->payload = ring->control->payload_head;
    record->length = length;
    record->flags |= FLAG_PAYLOAD;
    return true;
}

void ring_publish(struct ring *ring, struct record *record, uint64_t tsc)
{
    struct ring_control *control = ring->control;

    record->tsc_entry = tsc;
    ring->slots[control->head & ring->mask] = *record;
    if (record->length)
        STORE(control->payload_head, record->payload + record->length);
    ring_advance(ring);
    __builtin_prefetch(&ring->slots[control->head & ring->mask], 1);
    STORE(control->open, 0);
    ring_advanced(ring);
}

void ring_cancel(struct ring *ring)
{
    ring->control->dropped++;
    ring->gap = 1;
    STORE(ring->control->open, 0);
}

void ring_pause(struct ring *ring, uint64_t tsc)
{
    struct ring_control *control = ring->control;
    struct ring_pause *pause = &ring->pauses[control->pauses % PAUSES];

    STORE(pause->end, 0);
    STORE(pause->begin, tsc);
    STORE(control->paused, control->paused - tsc);
    STORE(control->pauses, control->pauses + 1);
    ring->paused = 1;
}

void ring_resume(struct ring *ring, uint64_t tsc)
{
    struct ring_control *control = ring->control;

    STORE(control->paused, control->paused + tsc);
    STORE(ring->pauses[(control->pauses - 1) % PAUSES].end, tsc);
    if (control->pauses % (PAUSES / 4) == 0)
        signal_consumer(ring);
}

/* The ring whose next record left KVM_RUN first, among those before `limit`; n where there is none. */
static uint32_t earliest(const struct ring *rings, const uint64_t *heads, uint32_t n, uint64_t limit)
{
    uint32_t best = n;
    uint64_t tsc = limit;

    for (uint32_t i = 0; i < n; i++) {
        if (rings[i].cursor == heads[i])
            continue;
        const struct record *record = &rings[i].slots[rings[i].cursor & rings[i].mask];
        if (record->tsc_exit < tsc) {
            tsc = record->tsc_exit;
            best = i;
        }
    }
    return best;
}

/* Time up to which no ring can still get a record: an exit being handled is published when it has been answered.
 * A ring that is more than half full, of records or of payload, is emptied all the same, so that a slow device on one
 * vCPU cannot stop another. */
static uint64_t watermark(const struct ring *rings, uint32_t n, uint64_t now)
{
    uint64_t limit = now;

    if (now == UINT64_MAX) /* the last drain */
        return now;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t open = LOAD(rings[i].control->open);
        if (open && open < limit)
            limit = open;
    }
    for (uint32_t i = 0; i < n; i++)
        if (LOAD(rings[i].control->head) - rings[i].cursor > (rings[i].mask + 1) / 2 ||
            LOAD(rings[i].control->payload_head) - rings[i].payload_cursor > (rings[i].payload_mask + 1) / 2)
            limit = UINT64_MAX;
    return limit;
}

uint64_t rings_drain(struct ring *rings, uint32_t n, uint64_t tsc_start, uint64_t tsc_khz, uint64_t now,
                     struct exits_columns *columns)
{
    uint64_t limit = watermark(rings, n, now), row = 0, used = 0;
    uint64_t heads[n];

    for (uint32_t i = 0; i < n; i++)
        heads[i] = LOAD(rings[i].control->head);
    columns->payload[0] = 0;
    while (row < columns->rows) {
        uint32_t i = earliest(rings, heads, n, limit);
        if (i == n)
            break;
        struct ring *ring = &rings[i];
        const struct record *record = &ring->slots[ring->cursor & ring->mask];
        if (used + record->length > columns->bytes_capacity)
            break;
        if (record->length) {
            ring_bytes_out(ring, record->payload, columns->bytes + used, record->length);
            used += record->length;
            ring->payload_cursor = record->payload + record->length;
        }
        exits_put(columns, row, record, ring->cursor, i, tsc_start, tsc_khz);
        columns->payload[++row] = (int32_t)used;
        ring->cursor++;
    }
    return row;
}

void rings_commit(struct ring *rings, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (rings[i].control->tail == rings[i].cursor)
            continue;
        STORE(rings[i].control->payload_tail, rings[i].payload_cursor);
        __atomic_store_n(&rings[i].control->tail, rings[i].cursor, __ATOMIC_SEQ_CST);
        wake_producer(&rings[i]);
    }
}

void rings_wait(int event, int milliseconds)
{
    struct pollfd poller = {.fd = event, .events = POLLIN};
    uint64_t count;

    if (poll(&poller, 1, milliseconds) == 1 && read(event, &count, sizeof count) < 0)
        return;
}

/* What one record costs, for the benchmark: `samples` gets the TSC cycles of each of n records of an OUT exit. */
void ring_benchmark(struct ring *ring, uint32_t *samples, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t before = tsc_now();
        struct record *record = ring_open(ring, before);
        if (record) {
            record->reason = 2;
            record->addr = 0x3f8;
            record->size = 1;
            record->count = 1;
            record->direction = 2;
            record->data = i & 0xff;
            ring_publish(ring, record, tsc_now());
        }
        samples[i] = (uint32_t)(tsc_now() - before);
    }
}

#include "dma.h"

#include "atomic.h"

#include <string.h>

_Static_assert(sizeof(struct dma_transfer) <= sizeof(struct record), "a transfer fits in a record of a ring");

static _Thread_local struct dma *kept;

static struct dma_transfer *slot(const struct ring *ring, uint64_t number)
{
    return (struct dma_transfer *)&ring->slots[number & ring->mask];
}

static bool room(const struct dma *dma, uint64_t bytes)
{
    if (ring_room(dma->ring, 1, bytes))
        return true;
    if (!dma->full)
        return false;
    dma->full(dma->handle);
    return ring_room(dma->ring, 1, bytes);
}

static void publish(struct dma *dma)
{
    struct ring *ring = dma->ring;

    if (!dma->last.length)
        return;
    *slot(ring, ring->control->head) = dma->last;
    STORE(ring->control->payload_head, dma->last.payload + dma->last.length);
    ring_advance(ring);
    ring_filled(ring, dma->last.length);
    dma->last.length = 0;
}

/* How many bytes the newest transfer has room for, if those at the address follow it. */
static uint32_t rest(const struct dma_transfer *last, uint64_t address, bool read)
{
    bool follows = last->length && last->read == read && last->address + last->length == address;

    return follows ? DMA_PIECE - last->length : 0;
}

static void keep(struct dma *dma, struct dma_transfer next, const uint8_t *bytes)
{
    struct ring *ring = dma->ring;

    if (!rest(&dma->last, next.address, next.read))
        publish(dma);
    if (!room(dma, (uint64_t)dma->last.length + next.length)) {
        STORE(ring->control->dropped, ring->control->dropped + 1);
        return;
    }
    if (!dma->last.length) {
        next.tsc = tsc_now();
        next.seq = dma->exits ? LOAD(dma->exits->control->head) : 0;
        next.payload = ring->control->payload_head;
        next.device = dma->device;
        dma->last = next;
        dma->last.length = 0;
    }
    ring_bytes_in(ring, dma->last.payload + dma->last.length, bytes, next.length);
    dma->last.length += next.length;
}

static void transfer(const uint8_t *bytes, uint64_t length, bool read)
{
    uint64_t address;

    if (!kept || !memory_address(kept->memory, bytes, &address))
        return;
    while (length) {
        /* What comes in several steps, as the host has it, is in the same pieces as what comes at once. */
        uint32_t left = rest(&kept->last, address, read), most = left ? left : DMA_PIECE;
        uint32_t part = length < most ? (uint32_t)length : most;

        keep(kept, (struct dma_transfer){.address = address, .length = part, .read = read}, bytes);
        address += part;
        bytes += part;
        length -= part;
    }
}

void dma_begin(struct dma *dma)
{
    kept = dma;
}

void dma_acts(int16_t device)
{
    if (kept)
        kept->device = device;
}

void dma_acted(void)
{
    if (kept)
        publish(kept);
}

void dma_wrote(const void *host, uint64_t length)
{
    transfer(host, length, false);
}

void dma_read(const void *host, uint64_t length)
{
    transfer(host, length, true);
}

/* The transfer at the cursor, NULL: there is none. Copies at most `room` bytes of it; NULL if it has more. */
static const struct dma_transfer *take(struct ring *ring, uint64_t head, uint8_t *bytes, uint64_t room)
{
    const struct dma_transfer *next = slot(ring, ring->cursor);

    if (ring->cursor == head || next->length > room)
        return NULL;
    ring_bytes_out(ring, next->payload, bytes, next->length);
    ring->payload_cursor = next->payload + next->length;
    ring->cursor++;
    return next;
}

uint64_t dma_drain(struct ring *ring, uint64_t tsc_start, uint64_t tsc_khz, struct dma_columns *columns)
{
    uint64_t head = LOAD(ring->control->head), row = 0, used = 0;
    const struct dma_transfer *next;

    columns->data[0] = 0;
    while (row < columns->rows &&
           (next = take(ring, head, columns->bytes + used, columns->bytes_capacity - used)) != NULL) {
        columns->t[row] = (int64_t)nanoseconds(next->tsc, tsc_start, tsc_khz);
        columns->vcpu[row] = 0; /* a machine with virtual time has one */
        columns->seq[row] = next->seq;
        columns->device[row] = (int16_t)(next->device + 1);
        columns->direction[row] = (int8_t)next->read;
        columns->addr[row] = next->address;
        used += next->length;
        columns->data[++row] = (int32_t)used;
    }
    return row;
}

bool dma_take(struct ring *ring, struct dma_transfer *transfer, uint8_t *bytes)
{
    const struct dma_transfer *next = take(ring, LOAD(ring->control->head), bytes, DMA_PIECE);

    if (next)
        *transfer = *next;
    rings_commit(ring, 1);
    return next;
}

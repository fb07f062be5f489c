#include "requests.h"

#include "atomic.h"
#include "lock.h"

void requests_init(struct requests *requests, void *base, uint64_t slots, uint32_t policy, int event)
{
    requests->lock = FREE;
    ring_init(&requests->ring, base, slots, 0, policy, event);
}

void requests_close(struct requests *requests)
{
    ring_close(&requests->ring);
}

static struct request *slot(const struct ring *ring, uint64_t number)
{
    return (struct request *)&ring->slots[number & ring->mask];
}

uint64_t requests_length(const struct virtqueue_chain *chain, uint32_t written)
{
    return chain->length == VIRTQUEUE_MOVED ? (uint64_t)chain->readable + written : chain->length;
}

void requests_record(struct requests *requests, const struct virtqueue_chain *chain, uint32_t device, uint32_t queue,
                     uint32_t written, uint64_t tsc_done)
{
    struct ring *ring = &requests->ring;
    struct ring_control *control = ring->control;

    if (!control)
        return;
    lock(&requests->lock); /* also while it waits for room: so do all others then */
    if (ring_room(ring, 1, 0)) {
        *slot(ring, control->head) = (struct request){
            .tsc_available = chain->t_available,
            .tsc_taken = chain->t_taken,
            .tsc_done = tsc_done,
            .position = chain->position,
            .length = requests_length(chain, written),
            .bytes_out = chain->readable,
            .bytes_in = written,
            .room = chain->writable,
            .buffers = (uint32_t)chain->n_readable + chain->n_writable,
            .device = (int16_t)device,
            .queue = (uint16_t)queue,
            .head = chain->head,
            .kind = chain->kind < REQUEST_KIND_END ? chain->kind : REQUEST_OTHER,
            .status = chain->status < REQUEST_STATUS_END ? chain->status : REQUEST_ERROR,
        };
        ring_advance(ring);
        ring_advanced(ring);
    } else {
        STORE(control->dropped, control->dropped + 1);
    }
    unlock(&requests->lock);
}

uint64_t requests_drain(struct ring *ring, uint64_t tsc_start, uint64_t tsc_khz, struct requests_columns *columns)
{
    uint64_t head = LOAD(ring->control->head), row = 0;

    for (; ring->cursor < head && row < columns->rows; ring->cursor++) {
        requests_put(columns, row, slot(ring, ring->cursor), ring->cursor, 0, tsc_start, tsc_khz);
        /* Two producers may stamp in one order and record in the other. */
        for (uint64_t at = row++; at && columns->t_done[at] < columns->t_done[at - 1]; at--)
            requests_swap(columns, at, at - 1);
    }
    return row;
}

void requests_benchmark(struct requests *requests, const struct virtqueue_chain *chain, uint32_t *samples, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t before = tsc_now();
        requests_record(requests, chain, 0, 0, chain->writable, before);
        samples[i] = (uint32_t)(tsc_now() - before);
    }
}

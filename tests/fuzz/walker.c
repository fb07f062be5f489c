/* Fuzzes the walker of split virtqueues: no chain has a range outside the guest's memory, a budget bounds each, a queue
 * with a fault gives no more. */
#include "guest.h"

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool is_inside(const struct guest *guest, const struct iovec *range, bool write)
{
    for (uint32_t i = 0; i < guest->memory.n; i++) {
        const struct memory_region *region = &guest->memory.regions[i];
        const uint8_t *start = range->iov_base;
        if (start >= region->host && start + range->iov_len <= region->host + region->size)
            return !(write && region->read_only);
    }
    return false;
}

static void take(struct guest *guest, struct virtqueue *queue, struct virtqueue_chain *chain)
{
    uint64_t readable = 0, writable = 0;
    uint8_t bytes[300];

    if (!virtqueue_take(queue, chain))
        return;
    check(!queue->fault && queue->size && chain->head < queue->size);
    check(chain->n_readable + chain->n_writable <= VIRTQUEUE_SIZE);
    for (uint32_t i = 0; i < (uint32_t)chain->n_readable + chain->n_writable; i++) {
        check(is_inside(guest, &chain->ranges[i], i >= chain->n_readable));
        *(i < chain->n_readable ? &readable : &writable) += chain->ranges[i].iov_len;
    }
    check(readable == chain->readable && writable == chain->writable);
    uint32_t at = (uint32_t)guest_next(guest, 2), n = chain_read(chain, at, bytes, sizeof bytes);
    check(n <= sizeof bytes && (at >= readable ? !n : n <= readable - at));
    n = chain_write(chain, at, bytes, sizeof bytes);
    check(n <= sizeof bytes && (at >= writable ? !n : n <= writable - at));
    virtqueue_put(queue, chain->head, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *program, size_t size)
{
    static struct virtqueue_chain chain;
    struct virtqueue queue = {0};
    struct guest guest;

    guest_open(&guest, program, size);
    guest_start(&guest, 0, &queue, false);
    for (uint32_t i = 0; i < STEPS && guest.left; i++) {
        uint8_t step = (uint8_t)guest_next(&guest, 1);
        switch (step % 8) {
        case 4:
            take(&guest, &queue, &chain);
            break;
        case 5:
            virtqueue_interrupts(&queue);
            virtqueue_wait(&queue);
            break;
        case 6:
            if (step & 128)
                virtqueue_stop(&queue);
            else
                virtqueue_busy(&queue);
            break;
        case 7:
            if (step & 64)
                virtqueue_resume(&queue, (uint16_t)guest_next(&guest, 2), (uint16_t)guest_next(&guest, 2));
            else
                guest_start(&guest, 0, &queue, step & 32);
            break;
        default:
            guest_step(&guest, 0, step);
        }
    }
    return 0;
}

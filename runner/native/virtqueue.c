#include "virtqueue.h"

#include "atomic.h"
#include "dma.h"
#include "tsc.h"

#include <stddef.h>
#include <string.h>

/* Let no later line read again what was copied before, nor an earlier one be done after. */
#define COPIED() __asm__ volatile("" ::: "memory")

static enum virtqueue_fault fail(struct virtqueue *queue, enum virtqueue_fault fault)
{
    queue->fault = fault;
    return fault;
}

enum virtqueue_fault virtqueue_start(struct virtqueue *queue, const struct memory *memory, uint32_t size,
                                     uint64_t descriptors, uint64_t available, uint64_t used, uint64_t features)
{
    *queue = (struct virtqueue){.memory = memory, .done = queue->done};
    if (!size || size > VIRTQUEUE_SIZE || size & (size - 1))
        return fail(queue, VIRTQUEUE_BAD_SIZE);
    if (descriptors % VRING_DESC_ALIGN_SIZE || available % VRING_AVAIL_ALIGN_SIZE || used % VRING_USED_ALIGN_SIZE)
        return fail(queue, VIRTQUEUE_MISALIGNED);
    /* Each ring ends with a word for the other side's event index, negotiated or not (2.7.6, 2.7.8). */
    queue->descriptors = memory_at(memory, descriptors, size * sizeof(struct vring_desc), false);
    queue->available = memory_at(memory, available, offsetof(struct vring_avail, ring) + (size + 1) * 2, false);
    queue->used =
        memory_at(memory, used, offsetof(struct vring_used, ring) + size * sizeof(vring_used_elem_t) + 2, true);
    if (!queue->descriptors || !queue->available || !queue->used)
        return fail(queue, VIRTQUEUE_NO_RAM);
    queue->indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
    queue->event_index = features >> VIRTIO_RING_F_EVENT_IDX & 1;
    queue->size = (uint16_t)size;
    return VIRTQUEUE_SOUND;
}

void virtqueue_resume(struct virtqueue *queue, uint16_t taken, uint16_t put)
{
    queue->taken = taken;
    queue->put = queue->signalled = put;
    queue->known = taken;
}

void virtqueue_stop(struct virtqueue *queue)
{
    *queue = (struct virtqueue){.done = queue->done};
}

/* Add a descriptor's buffer to the chain. */
static enum virtqueue_fault add(const struct virtqueue *queue, struct virtqueue_chain *chain,
                                const struct vring_desc *descriptor)
{
    bool write = descriptor->flags & VRING_DESC_F_WRITE;
    uint32_t *bytes = write ? &chain->writable : &chain->readable;
    void *host;

    if (!descriptor->len)
        return VIRTQUEUE_EMPTY;
    if (!write && chain->n_writable)
        return VIRTQUEUE_ORDER;
    if ((uint64_t)chain->readable + chain->writable + descriptor->len > UINT32_MAX)
        return VIRTQUEUE_TOO_LARGE;
    host = memory_at(queue->memory, descriptor->addr, descriptor->len, write);
    if (!host)
        return VIRTQUEUE_NO_BUFFER;
    chain->ranges[chain->n_readable + chain->n_writable] = (struct iovec){host, descriptor->len};
    *bytes += descriptor->len;
    ++*(write ? &chain->n_writable : &chain->n_readable);
    return VIRTQUEUE_SOUND;
}

/* Follow a chain. The queue's own table has a budget of its length, and so has an indirect table. */
static enum virtqueue_fault follow(const struct virtqueue *queue, struct virtqueue_chain *chain)
{
    const struct vring_desc *table = queue->descriptors;
    uint32_t n = queue->size, budget = n, at = chain->head;
    bool indirect = false; /* not by the table's address, which may be the queue's own */
    enum virtqueue_fault fault;

    if (at >= n)
        return VIRTQUEUE_BAD_HEAD;
    for (;;) {
        struct vring_desc descriptor;

        if (!budget-- || chain->n_readable + chain->n_writable == VIRTQUEUE_SIZE)
            return VIRTQUEUE_TOO_LONG;
        memcpy(&descriptor, table + at, sizeof descriptor);
        COPIED();
        dma_read(table + at, sizeof descriptor);
        if (descriptor.flags & VRING_DESC_F_INDIRECT) { /* its WRITE flag says nothing (2.7.5.3.2) */
            if (!queue->indirect)
                return VIRTQUEUE_NOT_OFFERED;
            if (indirect)
                return VIRTQUEUE_NESTED;
            if (descriptor.flags & VRING_DESC_F_NEXT)
                return VIRTQUEUE_NOT_LAST;
            table = memory_at(queue->memory, descriptor.addr, descriptor.len, false);
            if (!table || !descriptor.len || descriptor.len % sizeof descriptor)
                return VIRTQUEUE_BAD_TABLE;
            indirect = true;
            budget = n = descriptor.len / sizeof descriptor;
            at = 0;
            continue;
        }
        fault = add(queue, chain, &descriptor);
        if (fault || !(descriptor.flags & VRING_DESC_F_NEXT))
            return fault;
        at = descriptor.next;
        if (at >= n)
            return VIRTQUEUE_BAD_NEXT;
    }
}

void virtqueue_tell(struct virtqueue *queue, uint64_t tsc)
{
    if (!queue->told)
        queue->told = tsc;
}

/* Read a word of the available ring. */
static uint16_t hear(const uint16_t *word)
{
    uint16_t value = LOAD(*word);

    dma_read(word, sizeof *word);
    return value;
}

/* Stamp the chain that is to be taken. All that `index` counts is known from now on. */
static void know(struct virtqueue *queue, struct virtqueue_chain *chain, uint16_t index)
{
    chain->t_taken = tsc_now();
    if (queue->known == queue->taken) {
        queue->known = index;
        queue->known_at = queue->told ? queue->told : chain->t_taken;
        queue->told = 0;
    }
    chain->t_available = queue->known_at;
}

bool virtqueue_take(struct virtqueue *queue, struct virtqueue_chain *chain)
{
    uint16_t index, ahead;

    if (!queue->size || queue->fault)
        return false;
    index = hear(&queue->available->idx);
    ahead = index - queue->taken;
    if (!ahead) {
        queue->told = 0; /* that notification was for chains found before */
        return false;
    }
    if (ahead > queue->size || (uint16_t)(queue->taken - queue->put) >= queue->size)
        return fail(queue, VIRTQUEUE_AHEAD), false;
    chain->head = hear(&queue->available->ring[queue->taken % queue->size]);
    chain->n_readable = chain->n_writable = 0;
    chain->readable = chain->writable = 0;
    chain->kind = chain->status = 0;
    chain->position = 0;
    chain->length = VIRTQUEUE_MOVED;
    know(queue, chain, index);
    if (fail(queue, follow(queue, chain)))
        return false;
    queue->taken++;
    return true;
}

uint16_t virtqueue_ahead(const struct virtqueue *queue)
{
    return queue->size ? hear(&queue->available->idx) - queue->taken : 0;
}

void virtqueue_untake(struct virtqueue *queue, uint16_t n)
{
    queue->taken -= n;
}

/* Write a word of the used ring. */
static void say(uint16_t *word, uint16_t value)
{
    STORE(*word, value);
    dma_wrote(word, sizeof *word);
}

void virtqueue_put(struct virtqueue *queue, uint16_t head, uint32_t written)
{
    vring_used_elem_t *element;

    if (!queue->size)
        return;
    element = &queue->used->ring[queue->put % queue->size];
    *element = (vring_used_elem_t){head, written};
    dma_wrote(element, sizeof *element);
    queue->put++;
    STORE(queue->done, queue->done + 1);
    if (!queue->gathering)
        say(&queue->used->idx, queue->put);
    if (queue->put == queue->signalled)
        queue->unsignalled = true;
}

bool virtqueue_hides(const struct virtqueue *queue)
{
    return queue->size && LOAD(queue->used->idx) != queue->put;
}

void virtqueue_gather(struct virtqueue *queue)
{
    queue->gathering = true;
}

void virtqueue_publish(struct virtqueue *queue)
{
    queue->gathering = false;
    if (!virtqueue_hides(queue))
        return;
    if (queue->put == queue->signalled) /* it was resumed with what it hides */
        queue->signalled = LOAD(queue->used->idx);
    say(&queue->used->idx, queue->put);
}

static uint16_t *driver_event(const struct virtqueue *queue) /* used_event */
{
    return &queue->available->ring[queue->size];
}

static uint16_t *device_event(const struct virtqueue *queue) /* avail_event */
{
    return (uint16_t *)&queue->used->ring[queue->size];
}

bool virtqueue_interrupts(struct virtqueue *queue)
{
    uint16_t before = queue->signalled, now = queue->put;
    bool all = queue->unsignalled;

    if (!queue->size)
        return false;
    queue->signalled = now;
    queue->unsignalled = false;
    if (now == before && !all)
        return false;
    /* The driver sets what is read here, then looks at idx: without the barrier both could miss the other's word. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!queue->event_index)
        return !(hear(&queue->available->flags) & VRING_AVAIL_F_NO_INTERRUPT);
    return all || vring_need_event(hear(driver_event(queue)), now, before);
}

bool virtqueue_wait(struct virtqueue *queue)
{
    if (!queue->size || queue->fault)
        return false;
    if (queue->event_index)
        say(device_event(queue), queue->taken);
    else
        say(&queue->used->flags, 0);
    /* As above, with the sides exchanged. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return hear(&queue->available->idx) != queue->taken;
}

void virtqueue_busy(struct virtqueue *queue)
{
    if (queue->size && !queue->event_index)
        say(&queue->used->flags, VRING_USED_F_NO_NOTIFY);
}

/* Copy between `size` bytes and the chain's ranges [first, first + n), from byte `at` of these on. */
static uint32_t copy(const struct iovec *ranges, uint32_t n, uint32_t at, uint8_t *bytes, uint32_t size, bool write)
{
    uint32_t done = 0;

    for (uint32_t i = 0; i < n && done < size; i++) {
        uint32_t length = (uint32_t)ranges[i].iov_len, part;
        uint8_t *there = ranges[i].iov_base;
        if (at >= length) {
            at -= length;
            continue;
        }
        part = length - at < size - done ? length - at : size - done;
        memcpy(write ? there + at : bytes + done, write ? bytes + done : there + at, part);
        if (write)
            dma_wrote(there + at, part);
        else
            dma_read(there + at, part);
        done += part;
        at = 0;
    }
    COPIED();
    return done;
}

uint32_t chain_read(const struct virtqueue_chain *chain, uint32_t at, void *bytes, uint32_t size)
{
    return copy(chain->ranges, chain->n_readable, at, bytes, size, false);
}

uint32_t chain_write(const struct virtqueue_chain *chain, uint32_t at, const void *bytes, uint32_t size)
{
    return copy(chain->ranges + chain->n_readable, chain->n_writable, at, (uint8_t *)bytes, size, true);
}

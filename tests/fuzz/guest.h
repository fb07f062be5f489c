/* A hostile driver for a fuzzer: the input is a program that writes a guest's memory and drives queues. Each area of
 * memory is a block of its own, so AddressSanitizer finds whatever is read or written beside it. */
#ifndef VMRUN_FUZZ_GUEST_H
#define VMRUN_FUZZ_GUEST_H

#include "memory.h"
#include "virtqueue.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

enum {
    RAM = 0x4000, /* at 0; the first queue's areas lie at its start */
    ROM_AT = 0x100000,
    ROM = 0x1000,
    HIGH_AT = 0x200000,
    HIGH = 0x1800,
    AREA = 0x800, /* from one queue's areas to the next's */
    STEPS = 512, /* of one input */
};

struct guest {
    const uint8_t *program;
    size_t left;
    struct memory memory;
    uint16_t available[8]; /* idx, by queue */
};

static inline void guest_open(struct guest *guest, const uint8_t *program, size_t size)
{
    static const struct memory_region areas[] = {
        {0, RAM, NULL, false}, {ROM_AT, ROM, NULL, true}, {HIGH_AT, HIGH, NULL, false}};
    static uint8_t *blocks[3]; /* allocated once: the sanitizer makes a new block slow */

    *guest = (struct guest){.program = program, .left = size, .memory.n = 3};
    for (uint32_t i = 0; i < 3; i++) {
        blocks[i] = blocks[i] ? blocks[i] : malloc(areas[i].size);
        memset(blocks[i], 0, areas[i].size);
        guest->memory.regions[i] = areas[i];
        guest->memory.regions[i].host = blocks[i];
    }
}

/* The next bytes of the program; zeros after its end. */
static inline uint64_t guest_next(struct guest *guest, size_t size)
{
    uint64_t value = 0;
    size_t n = size < guest->left ? size : guest->left;

    memcpy(&value, guest->program, n);
    guest->program += n;
    guest->left -= n;
    return value;
}

static inline void guest_write(struct guest *guest, uint64_t address, const void *bytes, uint64_t size)
{
    void *at = memory_at(&guest->memory, address, size, false);

    if (at)
        memcpy(at, bytes, size);
}

/* An address that is often one of RAM. */
static inline uint64_t guest_address(struct guest *guest)
{
    uint8_t how = (uint8_t)guest_next(guest, 1);

    switch (how & 3) {
    case 0:
        return guest_next(guest, 2);
    case 1:
        return HIGH_AT + guest_next(guest, 2);
    case 2:
        return ROM_AT - 8 + guest_next(guest, 2) % (ROM + 16);
    default:
        return guest_next(guest, 8);
    }
}

/* Where a queue's areas lie if the driver does nothing strange. */
static inline uint64_t guest_descriptors(uint32_t queue)
{
    return (uint64_t)queue * AREA;
}
static inline uint64_t guest_available(uint32_t queue)
{
    return (uint64_t)queue * AREA + 0x400;
}
static inline uint64_t guest_used(uint32_t queue)
{
    return (uint64_t)queue * AREA + 0x500;
}

static inline void guest_start(struct guest *guest, uint32_t number, struct virtqueue *queue, bool strange)
{
    uint32_t size = strange ? (uint32_t)guest_next(guest, 4) : 1u << guest_next(guest, 1) % 6;
    uint64_t descriptors = strange ? guest_address(guest) : guest_descriptors(number);
    uint64_t available = strange ? guest_address(guest) : guest_available(number);
    uint64_t used = strange ? guest_address(guest) : guest_used(number);

    guest->available[number] = 0;
    guest_write(guest, available, &(struct vring_avail){0}, sizeof(struct vring_avail));
    virtqueue_start(queue, &guest->memory, size, descriptors, available, used,
                    guest_next(guest, 1) << VIRTIO_RING_F_INDIRECT_DESC);
}

/* A chain is available. */
static inline void guest_offer(struct guest *guest, uint32_t number, uint16_t head)
{
    for (uint32_t size = 1; size <= 32; size *= 2) /* whatever the queue's length: the slot is free to be right */
        guest_write(guest, guest_available(number) + 4 + guest->available[number] % size * 2, &head, 2);
    guest->available[number]++;
    guest_write(guest, guest_available(number) + 2, &guest->available[number], 2);
}

/* One step that touches memory alone; `step` says which. */
static inline void guest_step(struct guest *guest, uint32_t number, uint8_t step)
{
    switch (step % 4) {
    case 0: { /* a descriptor, in the queue or in a table */
        uint64_t at = guest_next(guest, 1) % 64 * sizeof(struct vring_desc);
        struct vring_desc descriptor = {.addr = guest_address(guest)};
        descriptor.len = (uint32_t)guest_next(guest, step & 16 ? 4 : 1) << (step & 32 ? 4 : 0);
        descriptor.flags = (uint16_t)guest_next(guest, 1);
        descriptor.next = (uint16_t)guest_next(guest, 1);
        guest_write(guest, guest_descriptors(number) + at, &descriptor, sizeof descriptor);
        break;
    }
    case 1:
        guest_offer(guest, number, (uint16_t)guest_next(guest, 1));
        break;
    case 2: { /* a word anywhere */
        uint64_t address = guest_address(guest), value = guest_next(guest, 8);
        guest_write(guest, address, &value, 8);
        break;
    }
    default: { /* the index, wrong */
        guest->available[number] = (uint16_t)guest_next(guest, 2);
        guest_write(guest, guest_available(number) + 2, &guest->available[number], 2);
    }
    }
}

#endif

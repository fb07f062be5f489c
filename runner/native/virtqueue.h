/* Split virtqueues, the device's side (virtio 1.2, 2.7). virtqueue_take() is the only reader of descriptors: it copies
 * each once, checks all, and gives a bounded list of host ranges. Everything in the rings is the guest's, and may
 * change at any moment. */
#ifndef VMRUN_VIRTQUEUE_H
#define VMRUN_VIRTQUEUE_H

#include "memory.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum { VIRTQUEUE_SIZE = 1024 }; /* the longest queue, and the longest chain: IOV_MAX */
#define VIRTQUEUE_MOVED UINT64_MAX /* the length of a request that is about all bytes that it moves */

/* What a driver did wrong. A queue with a fault gives no more chains until it is started again. */
enum virtqueue_fault {
    VIRTQUEUE_SOUND,
    VIRTQUEUE_BAD_SIZE, /* of the queue: 0, no power of two, too large */
    VIRTQUEUE_MISALIGNED, /* an area of the queue (2.7, table of alignments) */
    VIRTQUEUE_NO_RAM, /* an area of the queue is not in RAM */
    VIRTQUEUE_AHEAD, /* more chains are available, or held by the device, than it is long */
    VIRTQUEUE_BAD_HEAD, /* no such descriptor */
    VIRTQUEUE_BAD_NEXT, /* no such descriptor */
    VIRTQUEUE_TOO_LONG, /* the chain: it loops */
    VIRTQUEUE_EMPTY, /* a descriptor without bytes */
    VIRTQUEUE_TOO_LARGE, /* the chain's bytes: 2**32 or more, one less than a driver may (2.7.5.2) */
    VIRTQUEUE_NO_BUFFER, /* a buffer is not in RAM, or is to be written and in memory that is read-only */
    VIRTQUEUE_ORDER, /* a buffer to be read after one to be written (2.7.4.2) */
    VIRTQUEUE_NOT_OFFERED, /* an indirect table without VIRTIO_F_INDIRECT_DESC (2.7.5.3.1) */
    VIRTQUEUE_NESTED, /* an indirect table in an indirect table (2.7.5.3.1) */
    VIRTQUEUE_NOT_LAST, /* an indirect table with a next descriptor (2.7.5.3.1) */
    VIRTQUEUE_BAD_TABLE, /* an indirect table that is empty, in part a descriptor, or not in RAM */
    VIRTQUEUE_MALFORMED, /* the device has found no request in a chain */
};

struct virtqueue {
    const struct memory *memory;
    const struct vring_desc *descriptors;
    struct vring_avail *available;
    struct vring_used *used;
    uint16_t size; /* 0: it is not running */
    uint16_t taken; /* chains taken so far, modulo 2**16: the next entry of the available ring */
    uint16_t put; /* chains put back so far: the used ring's idx */
    uint16_t signalled; /* `put` when an interrupt was last considered */
    bool unsignalled; /* so many were put back since that `signalled` says nothing */
    bool gathering; /* the driver is not to see what is put back until virtqueue_publish() */
    bool indirect, event_index; /* negotiated features */
    uint16_t known; /* chains that the device knows of, modulo 2**16 */
    uint64_t known_at; /* the host's TSC when it first knew of them */
    uint64_t told; /* when the driver notified of chains that are not known yet, 0: it did not */
    enum virtqueue_fault fault;
    uint64_t done; /* chains that were ever put back; another thread may read it */
};

/* A request: what the device reads, then what it writes. */
struct virtqueue_chain {
    uint64_t t_available, t_taken; /* host's TSC when the device first knew of it, and when it was taken */
    uint64_t position; /* for the record of the request, set by the device: the first sector */
    uint64_t length; /* likewise: the bytes that it is about, VIRTQUEUE_MOVED at first */
    uint16_t head;
    uint8_t kind, status; /* likewise: enum request_kind, enum request_status; 0 at first */
    uint16_t n_readable, n_writable; /* ranges that the device reads; that it writes, after them */
    uint32_t readable, writable; /* their bytes */
    struct iovec ranges[VIRTQUEUE_SIZE];
};

/* Start a queue where the driver has put it, at its first entry, and without a fault. Returns what is wrong with it; it
 * does not run then. `features` are those that were negotiated. */
enum virtqueue_fault virtqueue_start(struct virtqueue *queue, const struct memory *memory, uint32_t size,
                                     uint64_t descriptors, uint64_t available, uint64_t used, uint64_t features);
/* Continue after so many chains. The driver has been notified of all used ones. */
void virtqueue_resume(struct virtqueue *queue, uint16_t taken, uint16_t put);
/* Never touch the guest's memory again until it is started. */
void virtqueue_stop(struct virtqueue *queue);

/* The driver has notified the queue, at that time (host's TSC). */
void virtqueue_tell(struct virtqueue *queue, uint64_t tsc);
/* Take the next chain; false: there is none, or the queue has a fault. */
bool virtqueue_take(struct virtqueue *queue, struct virtqueue_chain *chain);
/* How many chains are available that were not taken; more than the queue is long: the driver is at fault. */
uint16_t virtqueue_ahead(const struct virtqueue *queue);
/* Give up the last `n` chains that were taken: they are to be taken again. */
void virtqueue_untake(struct virtqueue *queue, uint16_t n);
/* Give a chain back to the driver, with `written` bytes in the ranges that the device writes. */
void virtqueue_put(struct virtqueue *queue, uint16_t head, uint32_t written);

/* Let the driver see what is put back from now on only when it is published, all at once. */
void virtqueue_gather(struct virtqueue *queue);
void virtqueue_publish(struct virtqueue *queue);
/* Whether there is something that the driver does not see yet. */
bool virtqueue_hides(const struct virtqueue *queue);

/* Whether the driver wants an interrupt for what was put back since the last call (2.7.7.2). */
bool virtqueue_interrupts(struct virtqueue *queue);
/* Ask the driver for a notification of the next chain; true: one came meanwhile, which it may not tell (2.7.10). */
bool virtqueue_wait(struct virtqueue *queue);
/* Ask the driver for no notifications; it may send some (2.7.10). */
void virtqueue_busy(struct virtqueue *queue);

/* Copy bytes from what the device reads, from byte `at` on, or into what it writes; returns how many there are. */
uint32_t chain_read(const struct virtqueue_chain *chain, uint32_t at, void *bytes, uint32_t size);
uint32_t chain_write(const struct virtqueue_chain *chain, uint32_t at, const void *bytes, uint32_t size);

#endif

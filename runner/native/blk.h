/* The block device (virtio 1.2, 5.2): what its requests say, and its answers. */
#ifndef VMRUN_BLK_H
#define VMRUN_BLK_H

#include "disk.h"
#include "worker.h"

#include <linux/virtio_blk.h>

/* Limits in the configuration space. */
enum {
    BLK_DISCARD_RANGES = 16, /* of a request */
    BLK_DISCARD_SECTORS = 1 << 22, /* of a range */
    BLK_ZERO_RANGES = 1,
    BLK_ZERO_SECTORS = 1 << 18, /* where they must be written, a request may take as long as any other */
};

/* Requests that wait for the host's disk are answered by threads, which come as they are needed and end when the worker
 * rests. All others are answered at once. */
enum { BLK_THREADS = 16, BLK_IN_FLIGHT = 128 };

struct blk_request {
    struct blk_request *next;
    uint32_t queue, written;
    struct virtqueue_chain chain;
};

struct blk {
    struct disk disk;
    uint8_t id[VIRTIO_BLK_ID_BYTES];
    uint32_t error; /* errno of a request that failed, 0: none since Python looked */
    uint32_t failed; /* its kind, enum request_kind */
    /* What follows is the worker's own. */
    struct worker *worker;
    struct blk_request *free;
    uint32_t n_requests, in_flight, n_threads;
    uint64_t full; /* bits: queues that wait for a free request */
    pthread_t threads[BLK_THREADS];
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t more;
    struct blk_request *waiting, **last, *done;
    uint32_t n_waiting, idle;
    bool ending;
};

/* The worker's device; its state is a struct blk. */
extern struct worker_device blk_device;

void blk_init(struct blk *blk); /* the image's files are set */

/* Read a request and answer it, unless it waits for a disk. `written` are the bytes that the used ring counts. */
enum blk_progress { BLK_ANSWERED, BLK_WAITS, BLK_MALFORMED };
enum blk_progress blk_begin(struct blk *blk, struct virtqueue_chain *chain, uint32_t *written);
/* Answer a request that waits; returns the bytes that the used ring counts. */
uint32_t blk_finish(struct blk *blk, struct virtqueue_chain *chain);

/* The errno of a request that failed since the last call, and its kind; 0: none. */
uint32_t blk_failed(struct blk *blk, uint32_t *kind);

#endif

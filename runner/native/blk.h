/* The block device (virtio 1.2, 5.2): what its requests say, and its answers. */
#ifndef VMRUN_BLK_H
#define VMRUN_BLK_H

#include "disk.h"
#include "worker.h"

#include <linux/virtio_blk.h>

/* Limits that the configuration tells the driver. */
enum {
    BLK_DISCARD_RANGES = 16, /* of a request */
    BLK_DISCARD_SECTORS = 1 << 22, /* of a range */
    BLK_ZERO_RANGES = 1,
    BLK_ZERO_SECTORS = 1 << 18, /* where they must be written, a request may take as long as any other */
};

struct blk {
    struct disk disk;
    uint8_t id[VIRTIO_BLK_ID_BYTES];
    uint32_t error; /* errno of a request that failed, 0: none since Python looked */
    uint32_t failed; /* its kind, enum request_kind */
};

/* The worker's device; its state is a struct blk. */
extern struct worker_device blk_device;

/* Answer a request; returns the bytes written, as the used ring counts them. False in `sound`: it has no header, or no
 * room for a status. */
uint32_t blk_answer(struct blk *blk, struct virtqueue_chain *chain, bool *sound);

/* The errno of a request that failed since the last call, and its kind; 0: none. */
uint32_t blk_failed(struct blk *blk, uint32_t *kind);

#endif

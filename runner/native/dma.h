/* DMA: what devices write to the guest's memory, and what they read there. It is kept in a thread that has asked for
 * it, that of a vCPU with virtual time: all of it follows from the guest's exits. */
#ifndef VMRUN_DMA_H
#define VMRUN_DMA_H

#include "memory.h"

#include <stdint.h>

/* Bytes of a transfer at most, as longer ones are several; bytes of all that is kept. */
enum { DMA_PIECE = 1 << 16, DMA_ROOM = 1 << 20 };

/* A transfer: where in the guest-physical memory, and how many bytes, which come next. */
struct dma_transfer {
    uint64_t address;
    uint32_t length;
    uint32_t read; /* else the device writes */
};

struct dma {
    const struct memory *memory; /* the guest's */
    void (*full)(void *handle); /* called with the handle: there is no room any more. All is forgotten afterwards. */
    void *handle;
    uint32_t used; /* bytes of `kept` */
    uint32_t last; /* where the newest transfer is in it */
    uint8_t kept[DMA_ROOM];
};

/* Keep what devices write and read in the calling thread from now on; NULL: keep no more. */
void dma_begin(struct dma *dma);
/* A device has written these bytes of the guest's memory, or is about to act on those that it has read. */
void dma_wrote(const void *host, uint64_t length);
void dma_read(const void *host, uint64_t length);

#endif

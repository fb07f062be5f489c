/* DMA: what devices write to the guest's memory, and what they read there. It is kept in a thread that has asked for
 * it, that of a vCPU with virtual time: all of it follows from the guest's exits. It goes into a record ring whose
 * records are transfers, and whose payload is their bytes. */
#ifndef VMRUN_DMA_H
#define VMRUN_DMA_H

#include "memory.h"
#include "ring.h"

#include <stdbool.h>
#include <stdint.h>

/* Bytes of a transfer at most, as longer ones are several. */
enum { DMA_PIECE = 1 << 16 };

/* A transfer, as long as there are bytes of it. */
struct dma_transfer {
    uint64_t tsc;     /* host's TSC when it began */
    uint64_t seq;     /* exits that the vCPU had completed */
    uint64_t address; /* guest-physical */
    uint64_t payload; /* where its bytes are in the ring's payload, counted from the ring's begin */
    uint32_t length;
    int16_t device; /* index in the plan */
    uint16_t read;  /* else the device writes */
};

/* The producer. */
struct dma {
    const struct memory *memory; /* the guest's */
    const struct ring *exits;    /* the vCPU's; NULL: all is of exit 0 */
    struct ring *ring;
    void (*full)(void *handle); /* NULL, or called with the handle if the ring has no room, to make some */
    void *handle;
    struct dma_transfer last; /* not yet published: the next bytes may belong to it */
    int16_t device;           /* that acts */
};

/* Keep what devices write and read in the calling thread from now on; NULL: keep no more. */
void dma_begin(struct dma *dma);
/* The device with this index acts in the calling thread, and has acted: all that it did is published. */
void dma_acts(int16_t device);
void dma_acted(void);
/* A device has written these bytes of the guest's memory, or is about to act on those that it has read. */
void dma_wrote(const void *host, uint64_t length);
void dma_read(const void *host, uint64_t length);

/* Consumer: the next transfers; returns the rows filled. rings_commit() frees their room. */
uint64_t dma_drain(struct ring *ring, uint64_t tsc_start, uint64_t tsc_khz, struct dma_columns *columns);
/* Consumer: the next transfer, whose bytes (DMA_PIECE at most) are copied; false: there is none. */
bool dma_take(struct ring *ring, struct dma_transfer *transfer, uint8_t *bytes);

#endif

#include "dma.h"

#include <stdbool.h>
#include <string.h>

static _Thread_local struct dma *kept;

void dma_begin(struct dma *dma)
{
    kept = dma;
}

/* Whether the bytes follow those of the newest transfer, which has room for them. */
static bool continues(const struct dma *dma, const struct dma_transfer *next)
{
    struct dma_transfer last;

    if (!dma->used || dma->used + next->length > DMA_ROOM)
        return false;
    memcpy(&last, dma->kept + dma->last, sizeof last);
    return last.read == next->read && last.address + last.length == next->address &&
           last.length + next->length <= DMA_PIECE;
}

static void keep(struct dma *dma, struct dma_transfer next, const uint8_t *bytes)
{
    uint32_t length = next.length;

    if (continues(dma, &next)) {
        memcpy(&next, dma->kept + dma->last, sizeof next);
        next.length += length;
    } else {
        if (dma->used + sizeof next + length > DMA_ROOM) {
            dma->full(dma->handle);
            dma->used = 0;
        }
        dma->last = dma->used;
        dma->used += sizeof next;
    }
    memcpy(dma->kept + dma->last, &next, sizeof next);
    memcpy(dma->kept + dma->used, bytes, length);
    dma->used += length;
}

static void transfer(const uint8_t *bytes, uint64_t length, bool read)
{
    uint64_t address;

    if (!kept || !memory_address(kept->memory, bytes, &address))
        return;
    while (length) {
        uint32_t part = length < DMA_PIECE ? (uint32_t)length : DMA_PIECE;

        keep(kept, (struct dma_transfer){address, part, read}, bytes);
        address += part;
        bytes += part;
        length -= part;
    }
}

void dma_wrote(const void *host, uint64_t length)
{
    transfer(host, length, false);
}

void dma_read(const void *host, uint64_t length)
{
    transfer(host, length, true);
}

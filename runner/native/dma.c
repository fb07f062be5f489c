#include "dma.h"

#include <stdbool.h>
#include <string.h>

static _Thread_local struct dma *kept;

void dma_begin(struct dma *dma)
{
    kept = dma;
}

/* Whether the bytes follow those of the newest write, which has room for them. */
static bool continues(const struct dma *dma, uint64_t address, uint32_t length)
{
    struct dma_write last;

    if (!dma->used || dma->used + length > DMA_ROOM)
        return false;
    memcpy(&last, dma->kept + dma->last, sizeof last);
    return last.address + last.length == address && last.length + length <= DMA_PIECE;
}

static void keep(struct dma *dma, uint64_t address, const uint8_t *bytes, uint32_t length)
{
    struct dma_write write = {address, 0};

    if (!continues(dma, address, length)) {
        if (dma->used + sizeof write + length > DMA_ROOM) {
            dma->full(dma->handle);
            dma->used = 0;
        }
        dma->last = dma->used;
        dma->used += sizeof write;
    } else {
        memcpy(&write, dma->kept + dma->last, sizeof write);
    }
    write.length += length;
    memcpy(dma->kept + dma->last, &write, sizeof write);
    memcpy(dma->kept + dma->used, bytes, length);
    dma->used += length;
}

void dma_wrote(const void *host, uint64_t length)
{
    const uint8_t *bytes = host;
    uint64_t address;

    if (!kept || !memory_address(kept->memory, host, &address))
        return;
    while (length) {
        uint32_t part = length < DMA_PIECE ? (uint32_t)length : DMA_PIECE;

        keep(kept, address, bytes, part);
        address += part;
        bytes += part;
        length -= part;
    }
}

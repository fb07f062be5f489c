#include "blk.h"

#include "atomic.h"

#include <errno.h>

static const uint32_t HEADER = sizeof(struct virtio_blk_outhdr);

/* Whether the disk has these sectors; their sum may be anything. */
static bool has(const struct blk *blk, uint64_t sector, uint64_t n)
{
    return sector <= blk->disk.sectors && n <= blk->disk.sectors - sector;
}

/* The ranges of memory from byte `at` of these on; the first may become shorter. */
static struct iovec *skip(struct iovec *ranges, uint64_t at)
{
    while (at >= ranges->iov_len)
        at -= (ranges++)->iov_len;
    ranges->iov_base = (uint8_t *)ranges->iov_base + at;
    ranges->iov_len -= at;
    return ranges;
}

/* An errno as a status; Python is told of those that the host has met. */
static uint8_t outcome(struct blk *blk, const struct virtqueue_chain *chain, int error)
{
    uint32_t none = 0;

    if (!error)
        return VIRTIO_BLK_S_OK;
    if (!LOAD(blk->error))
        STORE(blk->failed, chain->kind);
    __atomic_compare_exchange_n(&blk->error, &none, (uint32_t)error, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    return VIRTIO_BLK_S_IOERR;
}

static uint8_t transfer(struct blk *blk, struct virtqueue_chain *chain, uint64_t sector, bool write, uint32_t bytes)
{
    struct iovec *ranges = chain->ranges;

    if (bytes % SECTOR || !has(blk, sector, bytes / SECTOR) || (write && !blk->disk.writable))
        return VIRTIO_BLK_S_IOERR;
    if (!bytes)
        return VIRTIO_BLK_S_OK;
    if (write)
        return outcome(blk, chain, disk_write(&blk->disk, skip(ranges, HEADER), sector, bytes));
    return outcome(blk, chain, disk_read(&blk->disk, ranges + chain->n_readable, sector, bytes));
}

static uint8_t act_on_ranges(struct blk *blk, struct virtqueue_chain *chain)
{
    struct virtio_blk_discard_write_zeroes ranges[BLK_DISCARD_RANGES];
    bool discard = chain->kind == REQUEST_DISCARD;
    uint32_t bytes = chain->readable - HEADER, n = bytes / sizeof *ranges;
    uint32_t allowed = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    int error = 0;

    if (!blk->disk.writable)
        return VIRTIO_BLK_S_IOERR;
    if (bytes % sizeof *ranges || !n || n > (discard ? BLK_DISCARD_RANGES : BLK_ZERO_RANGES))
        return VIRTIO_BLK_S_IOERR;
    chain_read(chain, HEADER, ranges, bytes);
    chain->position = ranges[0].sector;
    for (uint32_t i = 0; i < n; i++) {
        if (ranges[i].flags & ~allowed)
            return VIRTIO_BLK_S_UNSUPP; /* 5.2.6.2 */
        if (!has(blk, ranges[i].sector, ranges[i].num_sectors) ||
            ranges[i].num_sectors > (discard ? BLK_DISCARD_SECTORS : BLK_ZERO_SECTORS))
            return VIRTIO_BLK_S_IOERR;
        chain->length += (uint64_t)ranges[i].num_sectors * SECTOR;
    }
    for (uint32_t i = 0; i < n && !error; i++)
        error = discard ? disk_discard(&blk->disk, ranges[i].sector, ranges[i].num_sectors)
                        : disk_zero(&blk->disk, ranges[i].sector, ranges[i].num_sectors, ranges[i].flags);
    return outcome(blk, chain, error);
}

static uint8_t kind(uint32_t type)
{
    switch (type) {
    case VIRTIO_BLK_T_IN:
        return REQUEST_READ;
    case VIRTIO_BLK_T_OUT:
        return REQUEST_WRITE;
    case VIRTIO_BLK_T_FLUSH:
        return REQUEST_FLUSH;
    case VIRTIO_BLK_T_GET_ID:
        return REQUEST_GET_ID;
    case VIRTIO_BLK_T_DISCARD:
        return REQUEST_DISCARD;
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return REQUEST_WRITE_ZEROES;
    default:
        return REQUEST_OTHER;
    }
}

/* The status is the last byte that the device writes, wherever the driver's buffers begin and end (5.2.6, 2.7.4). */
uint32_t blk_answer(struct blk *blk, struct virtqueue_chain *chain, bool *sound)
{
    struct virtio_blk_outhdr header;
    struct iovec *status;
    uint32_t room, written = 0;

    *sound = chain->writable && chain_read(chain, 0, &header, HEADER) == HEADER;
    if (!*sound)
        return 0;
    room = chain->writable - 1;
    status = &(struct iovec){0};
    *status = chain->ranges[chain->n_readable + chain->n_writable - 1];
    status->iov_base = (uint8_t *)status->iov_base + status->iov_len - 1;
    chain->kind = kind(header.type);
    chain->position = header.sector;
    chain->length = 0;
    switch (chain->kind) {
    case REQUEST_READ:
        chain->length = room;
        chain->status = transfer(blk, chain, header.sector, false, room);
        written = chain->status ? 0 : room;
        break;
    case REQUEST_WRITE:
        chain->length = chain->readable - HEADER;
        chain->status = transfer(blk, chain, header.sector, true, chain->readable - HEADER);
        break;
    case REQUEST_FLUSH:
        chain->status = outcome(blk, chain, disk_flush(&blk->disk));
        break;
    case REQUEST_GET_ID:
        written = chain_write(chain, 0, blk->id, room < sizeof blk->id ? room : sizeof blk->id);
        chain->length = written;
        break;
    case REQUEST_DISCARD:
    case REQUEST_WRITE_ZEROES:
        chain->status = act_on_ranges(blk, chain);
        break;
    default:
        chain->status = VIRTIO_BLK_S_UNSUPP;
    }
    *(volatile uint8_t *)status->iov_base = chain->status;
    return written + (written == room); /* those from the first on (2.7.8.2) */
}

uint32_t blk_failed(struct blk *blk, uint32_t *kind)
{
    *kind = LOAD(blk->failed);
    return __atomic_exchange_n(&blk->error, 0, __ATOMIC_ACQ_REL);
}

static uint32_t answer(struct worker *worker, uint32_t queue, struct virtqueue_chain *chain)
{
    struct blk *blk = worker->state;
    bool sound;
    uint32_t written = blk_answer(blk, chain, &sound);

    if (!sound)
        worker->queues[queue]->fault = VIRTQUEUE_MALFORMED;
    if (LOAD(blk->error))
        worker_trouble(worker);
    return written;
}

static void serve(struct worker *worker, uint64_t told)
{
    for (uint32_t i = 0; i < worker->n_queues; i++)
        if (told >> i & 1)
            worker_answer(worker, i, answer);
}

struct worker_device blk_device = {.serve = serve};

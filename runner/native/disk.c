#define _GNU_SOURCE /* preadv2, fallocate */
#include "disk.h"

#include "atomic.h"
#include "dma.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { WORD = 64, BOUNCE = 1 << 18, ZEROS = 1 << 16, ZERO_RANGES = 16, PAGE = 4096 };

/* One transfer between a file and memory. */
struct transfer {
    struct iovec *ranges; /* that are left */
    int fd, flags; /* of preadv2 and pwritev2 */
    uint32_t alignment;
    bool write;
};

/* So many bytes have come from the ranges, or from a file into them. */
static void moved(const struct iovec *ranges, uint64_t bytes, bool write)
{
    for (; bytes; ranges++) {
        uint64_t part = bytes < ranges->iov_len ? bytes : ranges->iov_len;

        if (write)
            dma_read(ranges->iov_base, part);
        else
            dma_wrote(ranges->iov_base, part);
        bytes -= part;
    }
}

static void advance(struct transfer *transfer, uint64_t bytes)
{
    moved(transfer->ranges, bytes, transfer->write);
    while (bytes) {
        struct iovec *range = transfer->ranges;
        uint64_t part = bytes < range->iov_len ? bytes : range->iov_len;

        range->iov_base = (uint8_t *)range->iov_base + part;
        range->iov_len -= part;
        bytes -= part;
        if (!range->iov_len)
            transfer->ranges++;
    }
}

static ssize_t call(const struct transfer *transfer, const struct iovec *ranges, int n, uint64_t offset)
{
    ssize_t done;

    do {
        done = transfer->write ? pwritev2(transfer->fd, ranges, n, (off_t)offset, transfer->flags)
                               : preadv2(transfer->fd, ranges, n, (off_t)offset, transfer->flags);
    } while (done < 0 && errno == EINTR);
    return done;
}

/* Copy between a piece of memory of our own and the ranges, which are used up. */
static void copy(struct transfer *transfer, uint8_t *piece, uint64_t bytes)
{
    while (bytes) {
        struct iovec *range = transfer->ranges;
        uint64_t part = bytes < range->iov_len ? bytes : range->iov_len;

        if (transfer->write)
            memcpy(piece, range->iov_base, part);
        else
            memcpy(range->iov_base, piece, part);
        piece += part;
        bytes -= part;
        advance(transfer, part);
    }
}

/* Move so many bytes by way of aligned memory. */
static int move_aligned(struct transfer *transfer, uint64_t offset, uint64_t bytes)
{
    uint64_t most = bytes < BOUNCE ? bytes : BOUNCE;
    uint8_t *piece = aligned_alloc(PAGE, (most + PAGE - 1) / PAGE * PAGE);
    int error = piece ? 0 : ENOMEM;

    while (bytes && !error) {
        uint64_t part = bytes < most ? bytes : most;
        struct iovec range = {piece, part};
        ssize_t done;

        if (transfer->write)
            copy(transfer, piece, part);
        done = call(transfer, &range, 1, offset);
        if (done != (ssize_t)part)
            error = done < 0 ? errno : transfer->write ? EIO : ENODATA;
        else if (!transfer->write)
            copy(transfer, piece, part);
        offset += part;
        bytes -= part;
    }
    free(piece);
    return error;
}

/* How many ranges have so many bytes. `over` are left of the last one, `bits` is every bit of their places and lengths.
 */
static int count(const struct iovec *ranges, uint64_t bytes, uint64_t *over, uintptr_t *bits)
{
    uint64_t sum = 0;
    int n = 0;

    *bits = 0;
    for (; sum < bytes; n++) {
        *bits |= (uintptr_t)ranges[n].iov_base | ranges[n].iov_len;
        sum += ranges[n].iov_len;
    }
    *over = sum - bytes;
    return n;
}

/* One call for so many bytes; it may move fewer. */
static ssize_t move_once(const struct transfer *transfer, int n, uint64_t over, uint64_t offset)
{
    struct iovec *last = transfer->ranges + n - 1;
    ssize_t done;

    last->iov_len -= over;
    done = call(transfer, transfer->ranges, n, offset);
    last->iov_len += over;
    return done;
}

/* Move so many bytes, which may take several calls. */
static int move(struct transfer *transfer, uint64_t offset, uint64_t bytes)
{
    while (bytes) {
        uint64_t over;
        uintptr_t bits;
        ssize_t done;
        int n = count(transfer->ranges, bytes, &over, &bits);

        if (bits & (transfer->alignment - 1))
            return move_aligned(transfer, offset, bytes);
        done = move_once(transfer, n, over, offset);
        if (done <= 0)
            return done < 0 ? errno : transfer->write ? EIO : ENODATA; /* the file has become shorter */
        advance(transfer, (uint64_t)done);
        offset += (uint64_t)done;
        bytes -= (uint64_t)done;
    }
    return 0;
}

/* How many sectors from this one on are alike: all are in the overlay, or none is. */
static uint64_t alike(const struct disk *disk, uint64_t sector, uint64_t n, bool *changed)
{
    uint64_t found = 0;

    *changed = LOAD(disk->changed[sector / WORD]) >> sector % WORD & 1;
    while (found < n) {
        uint64_t at = sector + found, word = LOAD(disk->changed[at / WORD]);
        uint64_t other = (*changed ? ~word : word) >> at % WORD;

        if (other)
            return found + (uint64_t)__builtin_ctzll(other) < n ? found + (uint64_t)__builtin_ctzll(other) : n;
        found += WORD - at % WORD;
    }
    return n;
}

/* From now on these sectors are read from the overlay. */
static void set_changed(const struct disk *disk, uint64_t sector, uint64_t n)
{
    while (n) {
        uint64_t first = sector % WORD, part = n < WORD - first ? n : WORD - first;
        uint64_t bits = (part == WORD ? UINT64_MAX : (UINT64_C(1) << part) - 1) << first;

        __atomic_fetch_or(&disk->changed[sector / WORD], bits, __ATOMIC_RELEASE);
        sector += part;
        n -= part;
    }
}

/* tmpfs, and on it memfd and shared memory. */
static bool lies_in_memory(int fd)
{
    struct statfs status;

    return !fstatfs(fd, &status) && status.f_type == TMPFS_MAGIC;
}

void disk_init(struct disk *disk)
{
    disk->in_memory = lies_in_memory(disk->fd);
    disk->overlay_in_memory = disk->overlay >= 0 && lies_in_memory(disk->overlay);
}

bool disk_read_now(const struct disk *disk, struct iovec *ranges, uint64_t sector, uint64_t bytes)
{
    struct transfer transfer = {.ranges = ranges, .fd = disk->fd, .alignment = disk->alignment};
    bool in_memory = disk->in_memory, changed;
    uint64_t over;
    ssize_t done;
    uintptr_t bits;
    int n = count(ranges, bytes, &over, &bits);

    if (disk->overlay >= 0) {
        if (alike(disk, sector, bytes / SECTOR, &changed) < bytes / SECTOR)
            return false;
        if (changed) {
            transfer.fd = disk->overlay;
            in_memory = disk->overlay_in_memory;
        }
    }
    if (disk->alignment > 1)
        return false;
    transfer.flags = in_memory ? 0 : RWF_NOWAIT;
    done = move_once(&transfer, n, over, sector * SECTOR);
    if (done != (ssize_t)bytes)
        return false; /* disk_read() moves the first ones again: it depends on the host how many they are */
    moved(ranges, bytes, false);
    return true;
}

bool disk_write_waits(const struct disk *disk)
{
    return disk->overlay < 0 && !disk->in_memory && (LOAD(disk->stable) || disk->alignment > 1);
}

int disk_read(const struct disk *disk, struct iovec *ranges, uint64_t sector, uint64_t bytes)
{
    struct transfer base = {.ranges = ranges, .fd = disk->fd, .alignment = disk->alignment};

    if (disk->overlay < 0)
        return move(&base, sector * SECTOR, bytes);
    while (bytes) {
        bool changed;
        uint64_t n = alike(disk, sector, bytes / SECTOR, &changed);
        struct transfer part = {.ranges = base.ranges, .fd = disk->overlay, .alignment = 1};
        int error;

        if (!changed)
            part = base;
        error = move(&part, sector * SECTOR, n * SECTOR);
        if (error)
            return error;
        base.ranges = part.ranges;
        sector += n;
        bytes -= n * SECTOR;
    }
    return 0;
}

int disk_write(const struct disk *disk, struct iovec *ranges, uint64_t sector, uint64_t bytes)
{
    struct transfer transfer = {.ranges = ranges, .fd = disk->fd, .alignment = disk->alignment, .write = true};
    int error;

    if (disk->overlay >= 0) {
        transfer.fd = disk->overlay;
        transfer.alignment = 1;
    } else if (LOAD(disk->stable)) {
        transfer.flags = RWF_DSYNC;
    }
    error = move(&transfer, sector * SECTOR, bytes);
    if (!error && disk->overlay >= 0)
        set_changed(disk, sector, bytes / SECTOR);
    return error;
}

static int allocate(int fd, int mode, uint64_t sector, uint64_t n)
{
    int done;

    do {
        done = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)(sector * SECTOR), (off_t)(n * SECTOR));
    } while (done < 0 && errno == EINTR);
    return done < 0 ? errno : 0;
}

/* Whether a file cannot do it, which says nothing about the disk. */
static bool unable(int error)
{
    return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL || error == ENODEV;
}

static int write_zeros(const struct disk *disk, uint64_t sector, uint64_t n)
{
    static uint8_t zeros[ZEROS] __attribute__((aligned(PAGE)));
    int error = 0;

    while (n && !error) {
        struct iovec ranges[ZERO_RANGES];
        uint64_t most = ZEROS / SECTOR * ZERO_RANGES, part = n < most ? n : most;

        for (uint32_t i = 0; i < ZERO_RANGES; i++)
            ranges[i] = (struct iovec){zeros, ZEROS};
        error = disk_write(disk, ranges, sector, part * SECTOR);
        sector += part;
        n -= part;
    }
    return error;
}

int disk_zero(const struct disk *disk, uint64_t sector, uint64_t n, bool unmap)
{
    int fd = disk->overlay >= 0 ? disk->overlay : disk->fd;
    int error = n ? allocate(fd, unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, sector, n) : 0;

    if (unable(error))
        return write_zeros(disk, sector, n);
    if (!error && disk->overlay >= 0)
        set_changed(disk, sector, n);
    return !error && LOAD(disk->stable) ? disk_flush(disk) : error;
}

int disk_discard(const struct disk *disk, uint64_t sector, uint64_t n)
{
    int error = n ? allocate(disk->overlay >= 0 ? disk->overlay : disk->fd, FALLOC_FL_PUNCH_HOLE, sector, n) : 0;

    if (unable(error))
        return 0;
    return !error && LOAD(disk->stable) ? disk_flush(disk) : error;
}

bool disk_flush_waits(const struct disk *disk)
{
    return disk->overlay < 0 && disk->writable; /* nothing of an overlay outlives the run */
}

int disk_flush(const struct disk *disk)
{
    return disk_flush_waits(disk) && fdatasync(disk->fd) < 0 ? errno : 0;
}

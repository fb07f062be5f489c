/* Fuzzes virtio-blk: an image in each mode, which stays as long as it was, and as it was where nobody may write it. */
#define _GNU_SOURCE /* memfd_create */
#include "device.h"

#include "atomic.h"
#include "blk.h"

#include <sys/mman.h>

enum { SECTORS = 48, READ_ONLY, READ_WRITE, OVERLAY, MODES = 3 };

static struct blk blk;
static uint64_t changed[SECTORS / 64 + 1];
static int image = -1, overlay = -1;
static uint8_t content[SECTORS * SECTOR];

static void device_open(struct worker *worker, uint8_t options)
{
    uint8_t mode = READ_ONLY + options % MODES;

    if (image < 0) {
        image = memfd_create("image", 0);
        overlay = memfd_create("overlay", 0);
        memset(content, 0x5a, sizeof content);
        if (ftruncate(image, sizeof content) || ftruncate(overlay, sizeof content))
            abort();
    }
    if (pwrite(image, content, sizeof content, 0) != sizeof content)
        abort();
    memset(changed, 0, sizeof changed);
    blk = (struct blk){.disk = {.fd = image,
                                .overlay = mode == OVERLAY ? overlay : -1,
                                .changed = mode == OVERLAY ? changed : NULL,
                                .sectors = SECTORS,
                                .alignment = options & 64 ? SECTOR : 1,
                                .writable = mode != READ_ONLY,
                                .stable = options & 128},
                       .id = "fuzzed"};
    blk_init(&blk);
    worker->device = &blk_device;
    worker->state = &blk;
    worker->n_queues = 1 + (options >> 4 & 1);
}

static void device_close(struct worker *worker)
{
    static uint8_t now[sizeof content];

    if (lseek(image, 0, SEEK_END) != sizeof content || lseek(overlay, 0, SEEK_END) != sizeof content)
        abort();
    if (blk.disk.writable && blk.disk.overlay < 0)
        return;
    if (pread(image, now, sizeof now, 0) != sizeof now || memcmp(now, content, sizeof now))
        abort();
}

static void device_outside(struct worker *worker, struct guest *guest)
{
    STORE(blk.disk.stable, (uint32_t)guest_next(guest, 1) & 1);
}

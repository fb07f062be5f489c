/* A disk image: a file or a block device, and what a guest may do with it. All functions may block, and several threads
 * may call them. They return 0 or an errno. */
#ifndef VMRUN_DISK_H
#define VMRUN_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum { SECTOR = 512 };

struct disk {
    int fd;
    int overlay; /* a file that gets what is written, -1: none */
    uint64_t *changed; /* with an overlay: a bit for each sector that is to be read there */
    uint64_t sectors;
    uint32_t alignment; /* with O_DIRECT: of memory, offsets and sizes; else 1 */
    bool writable;
    bool in_memory, overlay_in_memory; /* their file systems never wait for a disk */
    uint32_t stable; /* what was written is durable before it is answered; may change at any moment */
};

/* Fill in what the files say. */
void disk_init(struct disk *disk);
/* Read as disk_read() does if that waits for nothing; false: it may, and nothing was used up. */
bool disk_read_now(const struct disk *disk, struct iovec *ranges, uint64_t sector, uint64_t bytes);
/* Whether disk_write(), disk_flush() wait for a disk. */
bool disk_write_waits(const struct disk *disk);
bool disk_flush_waits(const struct disk *disk);

/* Read or write so many bytes, whole sectors that the disk has, from the beginning of these ranges of memory on. The
 * ranges are used up. */
int disk_read(const struct disk *disk, struct iovec *ranges, uint64_t sector, uint64_t bytes);
int disk_write(const struct disk *disk, struct iovec *ranges, uint64_t sector, uint64_t bytes);
/* Make sectors zero; `unmap`: their place may be given back. */
int disk_zero(const struct disk *disk, uint64_t sector, uint64_t n, bool unmap);
/* Give back the place of sectors, whatever is read there afterwards. */
int disk_discard(const struct disk *disk, uint64_t sector, uint64_t n);
/* Make durable what was written. */
int disk_flush(const struct disk *disk);

#endif

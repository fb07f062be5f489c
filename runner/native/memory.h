/* The guest's memory: which guest-physical ranges are mapped where in this process. memory_at() is the only way from a
 * guest-physical address to a pointer. */
#ifndef VMRUN_MEMORY_H
#define VMRUN_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

enum { MEMORY_REGIONS = 32 };

struct memory_region {
    uint64_t start, size; /* guest-physical */
    uint8_t *host;
    bool read_only;
};

/* Sorted by start, disjoint. Written before any vCPU runs. */
struct memory {
    uint32_t n;
    struct memory_region regions[MEMORY_REGIONS];
};

/* Where [address, address + size) lies in this process; NULL where one region does not have all of it, or where it is to
 * be written and may only be read. Any numbers are taken: they may be the guest's. */
void *memory_at(const struct memory *memory, uint64_t address, uint64_t size, bool write);

/* Map `size` bytes at a multiple of `alignment`, a power of two: anonymous ones for fd -1, else those of the file from
 * its start. `flags` and `protection` are mmap's. NULL, with errno, where that fails. */
void *memory_map(uint64_t size, uint64_t alignment, int fd, int protection, int flags);
void memory_unmap(void *start, uint64_t size);

/* Each returns 0, or the error's number: have all pages ready for writing; keep them in RAM; ask for huge pages, or for
 * none. */
int memory_populate(void *start, uint64_t size);
int memory_lock(void *start, uint64_t size);
int memory_advise(void *start, uint64_t size, bool huge);

#endif

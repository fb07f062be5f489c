/* The guest's memory: which guest-physical ranges are mapped where in this process. memory_at() is the only way from a
 * guest-physical address to a pointer. */
#ifndef VMRUN_MEMORY_H
#define VMRUN_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

enum { MEMORY_REGIONS = 64 };

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

/* Where [address, address + size) lies in this process; NULL if no single region contains all of it, or if it is
 * read-only and `write` is set. The numbers may be the guest's: all are accepted. */
void *memory_at(const struct memory *memory, uint64_t address, uint64_t size, bool write);

/* The guest-physical address of a place in this process that memory_at() has returned; false: it is none. */
bool memory_address(const struct memory *memory, const void *host, uint64_t *address);

/* Map `size` bytes at a multiple of `alignment`, a power of two: anonymous memory for fd -1, else the file from
 * its start. `flags` and `protection` are mmap's. NULL, with errno, if that fails. */
void *memory_map(uint64_t size, uint64_t alignment, int fd, int protection, int flags);
/* Map `size` bytes of a file from an offset on over part of such a mapping; what is written there stays in this
 * process. Zeros for fd -1. Gives 0 or an errno. */
int memory_map_file(void *start, uint64_t size, int fd, uint64_t offset, int protection);
void memory_unmap(void *start, uint64_t size);

/* Each returns 0 or an errno: make all pages ready for writing; lock them in RAM; enable or disable huge pages. */
int memory_populate(void *start, uint64_t size);
int memory_lock(void *start, uint64_t size);
int memory_advise(void *start, uint64_t size, bool huge);

/* What is behind memory: nothing; a file that others may have mapped too, and that gets a hole where pages are
 * returned; a file that this process has private copies of, and that would show again; the same where the
 * process has no room for further mappings, and pages stay. */
enum memory_behind { MEMORY_ANONYMOUS, MEMORY_SHARED, MEMORY_FILLED, MEMORY_CROWDED };

/* Return the whole pages of a range to the host; they read as zeros from then on. 0 or an errno. */
int memory_discard(void *start, uint64_t size, enum memory_behind behind);

#endif

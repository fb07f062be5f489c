#define _GNU_SOURCE /* MAP_ANONYMOUS, madvise */
#include "memory.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

void *memory_at(const struct memory *memory, uint64_t address, uint64_t size, bool write)
{
    uint32_t low = 0, high = memory->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct memory_region *region = &memory->regions[middle];
        if (address < region->start)
            high = middle;
        else if (address - region->start >= region->size)
            low = middle + 1;
        else if (size > region->size - (address - region->start) || (write && region->read_only))
            return NULL;
        else
            return region->host + (address - region->start);
    }
    return NULL;
}

bool memory_address(const struct memory *memory, const void *host, uint64_t *address)
{
    for (uint32_t i = 0; i < memory->n; i++) {
        const struct memory_region *region = &memory->regions[i];
        uint64_t at = (uintptr_t)host - (uintptr_t)region->host;

        if (at < region->size) {
            *address = region->start + at;
            return true;
        }
    }
    return false;
}

/* Reserve more than is needed first: MAP_FIXED may replace only our own mapping. */
void *memory_map(uint64_t size, uint64_t alignment, int fd, int protection, int flags)
{
    uint64_t whole = size + alignment;
    uint8_t *reserved, *start, *end;

    if (whole < size) {
        errno = ENOMEM;
        return NULL;
    }
    reserved = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return NULL;
    start = (uint8_t *)(((uintptr_t)reserved + alignment - 1) & ~(uintptr_t)(alignment - 1));
    end = start + size;
    if (mmap(start, size, protection, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
        int error = errno;
        munmap(reserved, whole);
        errno = error;
        return NULL;
    }
    if (start > reserved)
        munmap(reserved, (size_t)(start - reserved));
    if (reserved + whole > end)
        munmap(end, (size_t)(reserved + whole - end));
    return start;
}

int memory_map_file(void *start, uint64_t size, int fd, uint64_t offset, int protection)
{
    const int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);

    return mmap(start, size, protection, flags, fd, (off_t)offset) == MAP_FAILED ? errno : 0;
}

void memory_unmap(void *start, uint64_t size)
{
    munmap(start, size);
}

/* A host before Linux 5.14 lacks the advice: touch each page instead, without changing it. */
int memory_populate(void *start, uint64_t size)
{
    if (madvise(start, size, MADV_POPULATE_WRITE) == 0)
        return 0;
    if (errno != EINVAL)
        return errno;
    for (uint64_t at = 0; at < size; at += PAGE)
        __atomic_fetch_or((uint8_t *)start + at, 0, __ATOMIC_RELAXED);
    return 0;
}

int memory_lock(void *start, uint64_t size)
{
    return mlock(start, size) == 0 ? 0 : errno;
}

int memory_advise(void *start, uint64_t size, bool huge)
{
    return madvise(start, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0 ? 0 : errno;
}

int memory_discard(void *start, uint64_t size, enum memory_behind behind)
{
    uintptr_t first = ((uintptr_t)start + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    uintptr_t end = ((uintptr_t)start + size) & ~(uintptr_t)(PAGE - 1);

    if (end <= first)
        return 0;
    if (behind == MEMORY_CROWDED) {
        memset((void *)first, 0, end - first);
        return 0;
    }
    if (behind == MEMORY_FILLED)
        return memory_map_file((void *)first, end - first, -1, 0, PROT_READ | PROT_WRITE);
    return madvise((void *)first, end - first, behind == MEMORY_SHARED ? MADV_REMOVE : MADV_DONTNEED) == 0 ? 0 : errno;
}

/* The I/O and memory buses: which region of which device answers an address, and the shadows of its registers, from
 * which the vCPU loop answers without Python: reads with no side effect, writes that only deliver data. */
#ifndef VMRUN_BUS_H
#define VMRUN_BUS_H

#include <stdbool.h>
#include <stdint.h>

enum { BUS_REGISTERS = 64, BUS_READERS = 256, BUS_QUEUE = 65536, BUS_PIECES = 2048, BUS_DOORS = 64 };

enum bus_write { WRITE_PYTHON, WRITE_COALESCED, WRITE_IGNORED, WRITE_SHADOWED, WRITE_CLEARS, WRITE_RINGS };

/* What vCPUs ring by writing a number to a register, for a thread that serves a device without Python. */
struct bus_bell {
    uint64_t rung; /* by bit: the numbers that were written since the thread took them */
    uint64_t when[BUS_DOORS]; /* the host's TSC when each was rung first since then, 0: it was not */
    int event; /* eventfd: some were rung */
    const int *doors; /* eventfds, by number, that are written instead: another process serves; NULL: there are none */
    uint32_t n_doors;
};

/* One register of a region that C answers for, its shadow. */
struct bus_register {
    uint64_t value, offset;
    uint64_t mask; /* bits that a shadowed write may set */
    uint64_t shadowed; /* number of the piece with the newest shadowed write, 0: none */
    struct bus_register *cleared; /* whose bits a write clears */
    struct bus_bell *bell; /* that a write rings */
    uint8_t size;
    uint8_t read; /* reads are answered with value */
    uint8_t write; /* enum bus_write */
};

/* A run of coalesced writes to one register of a region. */
struct bus_piece {
    uint64_t number; /* counts up from 1 */
    uint64_t offset;
    uint32_t size, length;
    uint32_t region;
};

/* A device's window onto a bus. Its shadow registers stay with it, wherever it is mapped. */
struct bus_region {
    struct bus_register registers[BUS_REGISTERS];
    uint32_t n_registers;
    int32_t device; /* index of its device */
    uint8_t number; /* among those of its device */
};

struct bus_device {
    uint32_t flush_at_once; /* the device wants coalesced writes at once */
    uint64_t exits; /* that it has answered; all vCPUs count here */
};

/* Where a region lies. */
struct bus_range {
    uint64_t start, end;
    uint32_t region;
};

/* Where all regions lie: of each bus sorted by start, disjoint. Never changed once vCPUs can see it. */
struct bus_map {
    struct bus_map *next; /* of those that were replaced */
    uint32_t n_ports, n_mmio;
    struct bus_range ranges[]; /* the ports' first */
};

/* The map that a vCPU looks into now, NULL: none. Each has a cache line of its own. */
struct bus_reader {
    const struct bus_map *map;
    uint8_t rest[64 - sizeof(void *)];
};

struct bus {
    struct bus_map *map;
    struct bus_map *replaced; /* maps that may still be read */
    struct bus_reader readers[BUS_READERS];
    struct bus_region *regions;
    struct bus_device *devices;
    uint32_t n_regions;
    uint32_t hurry; /* a timer was set, or a device wants its writes at once: the next wait does not linger */
    int event; /* eventfd: the queue has something */
    uint64_t flushed; /* number of the newest piece that its device has been given */
    uint32_t takes; /* times that the queue was taken: a futex of those that wait for room */
    uint32_t waiting; /* a thread may sleep for it */
    /* The queue, of all devices: what they print comes out in the order in which the guest wrote it. */
    uint32_t lock; /* held for a copy of at most BUS_QUEUE bytes; guards what follows */
    uint32_t n_pieces, used;
    uint64_t numbered; /* pieces so far */
    struct bus_piece *pieces; /* BUS_PIECES of them */
    uint8_t *bytes; /* BUS_QUEUE of them */
};

/* A bus on which nothing is mapped. */
struct bus *bus_new(uint32_t n_regions, uint32_t n_devices, int event);
void bus_free(struct bus *bus);

/* Put every region where `ranges` say, those of the ports first, each bus's sorted by start and disjoint. vCPUs see the
 * old map or the new one, whole. One thread at a time. False when there is no memory: nothing has changed. */
bool bus_remap(struct bus *bus, const struct bus_range *ranges, uint32_t n_ports, uint32_t n_mmio);

/* Take the current map as vCPU `reader`: a number below BUS_READERS, one per vCPU. bus_leave() lets the map go. */
const struct bus_map *bus_enter(struct bus *bus, uint32_t reader);
void bus_leave(struct bus *bus, uint32_t reader);

/* The range that contains the address, or NULL; `room` is set to the bytes from the address to the end of the range, or
 * to the next range. */
const struct bus_range *bus_find(const struct bus_map *map, bool mmio, uint64_t address, uint64_t *room);

/* The region's shadow register of this offset and size, or NULL. */
struct bus_register *bus_register(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size);

/* Change what C answers; false if the region has too many shadow registers. */
bool bus_shadow(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, bool read, uint64_t value);
bool bus_writes(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, uint8_t how);

/* Coalesce writes that set no bit outside `mask`, and store them in the shadow for later reads; others go to Python. */
bool bus_shadow_writes(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, uint64_t mask);

/* Writes clear the bits that they set in the shadow at `of`, of the same size. */
bool bus_clears(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, uint64_t of);
/* Writes of a number below BUS_DOORS ring the bell; those of others are ignored. */
bool bus_rings(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, struct bus_bell *bell);
void bus_ring(struct bus_bell *bell, uint64_t number, uint64_t tsc);
/* Set and clear bits of a shadow that other threads change too; NULL: there is none. bus_shadow() made it. */
uint64_t *bus_bits(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size);
uint64_t bits_change(uint64_t *bits, uint64_t set, uint64_t clear);

/* Queue bytes for a region's device; false if there is no room now. The register `shadowed`, if any, stores them. */
bool bus_queue(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, const uint8_t *bytes, uint32_t length,
               struct bus_register *shadowed);
/* Sleep until the queue is taken again after `takes`, which was read before the queue was full; a signal ends it. */
void bus_await_room(struct bus *bus, uint32_t takes);
/* Take everything queued, oldest first: pieces (BUS_PIECES) and their bytes (BUS_QUEUE); returns the number of pieces.
 * The caller sets `flushed` as each piece is given to its device. */
uint32_t bus_take(struct bus *bus, struct bus_piece *pieces, uint8_t *bytes);
/* Wait until something is queued, then, unless its device wants a flush at once, `linger` ms for more; `timeout` ns at
 * most for each, -1 without limit. */
void bus_wait(struct bus *bus, int linger, int64_t timeout);

#endif

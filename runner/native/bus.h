/* The I/O and memory buses: which device claims an address, and what it has published so that the vCPU loop can
 * answer without Python: reads with no side effect, writes that only deliver data. */
#ifndef VMRUN_BUS_H
#define VMRUN_BUS_H

#include <stdbool.h>
#include <stdint.h>

enum { BUS_REGISTERS = 64, BUS_QUEUE = 65536, BUS_PIECES = 256 };

enum bus_write { WRITE_PYTHON, WRITE_QUEUED, WRITE_DISCARDED, WRITE_LATCHED };

/* One published register of a device. */
struct bus_register {
    uint64_t value, offset;
    uint64_t mask; /* bits that a latched write may set */
    uint8_t size;
    uint8_t latches; /* it has been latched: a write that is still queued says what reads give */
    uint8_t read;  /* reads are answered with value */
    uint8_t write; /* enum bus_write */
};

/* A run of queued writes to one register. */
struct bus_piece {
    uint64_t offset;
    uint32_t size, length;
};

struct bus_device {
    struct bus_register registers[BUS_REGISTERS];
    uint32_t n_registers;
    uint32_t urgent; /* the device wants queued writes at once */
    uint32_t lock;   /* held for a copy of at most BUS_QUEUE bytes */
    uint32_t n_pieces, used; /* guarded by lock, as is what follows */
    struct bus_piece pieces[BUS_PIECES];
    uint8_t *bytes; /* BUS_QUEUE of them */
};

/* A claimed range; offsets count from `base`, the start of the device's first range. */
struct bus_range {
    uint64_t start, end, base;
    int32_t device;
};

struct bus {
    struct bus_range *ports, *mmio; /* sorted by start, disjoint */
    uint32_t n_ports, n_mmio;
    struct bus_device *devices;
    uint32_t n_devices;
    uint32_t hurry; /* a timer was set: the next wait does not linger */
    int event; /* eventfd: a queue has something */
};

struct bus *bus_new(uint32_t n_ports, uint32_t n_mmio, uint32_t n_devices, int event);
void bus_free(struct bus *bus);

/* NULL where no device claims the address. */
const struct bus_range *bus_find(const struct bus *bus, bool mmio, uint64_t address);

/* The device's register that was published with this offset and size, or NULL. */
struct bus_register *bus_register(struct bus *bus, int32_t device, uint64_t offset, uint8_t size);

/* Change what is published; false when the device has too many registers. */
bool bus_publish(struct bus *bus, int32_t device, uint64_t offset, uint8_t size, bool read, uint64_t value);
bool bus_deliver(struct bus *bus, int32_t device, uint64_t offset, uint8_t size, uint8_t how);

/* Writes that set no bit outside `mask` are queued and what reads give from then on; others go to Python. */
bool bus_latch(struct bus *bus, int32_t device, uint64_t offset, uint8_t size, uint64_t mask);

/* Queue bytes for a device. False when there is no room now. A register that is `latched` takes them as its value. */
bool bus_queue(struct bus *bus, int32_t device, uint64_t offset, uint8_t size, const uint8_t *bytes, uint32_t length,
               struct bus_register *latched);
/* Take everything queued: pieces (BUS_PIECES) and their bytes (BUS_QUEUE); returns the number of pieces. */
uint32_t bus_take(struct bus *bus, int32_t device, struct bus_piece *pieces, uint8_t *bytes);
/* Wait until something is queued, then, unless a device is urgent, `linger` ms for more; `timeout` ns at most for
 * each, -1 without limit. */
void bus_wait(struct bus *bus, int linger, int64_t timeout);

#endif

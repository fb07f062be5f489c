#define _GNU_SOURCE /* ppoll, syscall */
#include "bus.h"

#include "atomic.h"
#include "futex.h"
#include "lock.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bus *bus_new(uint32_t n_regions, uint32_t n_devices, int event)
{
    struct bus *bus = calloc(1, sizeof *bus);

    if (!bus)
        return NULL;
    bus->map = calloc(1, sizeof *bus->map);
    bus->regions = calloc(n_regions + 1, sizeof *bus->regions);
    bus->devices = calloc(n_devices + 1, sizeof *bus->devices);
    bus->n_regions = n_regions;
    bus->event = event;
    bus->pieces = malloc(BUS_PIECES * sizeof *bus->pieces);
    bus->bytes = malloc(BUS_QUEUE);
    if (!bus->map || !bus->regions || !bus->devices || !bus->pieces || !bus->bytes) {
        bus_free(bus);
        return NULL;
    }
    return bus;
}

void bus_free(struct bus *bus)
{
    if (!bus)
        return;
    while (bus->replaced) {
        struct bus_map *next = bus->replaced->next;
        free(bus->replaced);
        bus->replaced = next;
    }
    free(bus->map);
    free(bus->bytes);
    free(bus->pieces);
    free(bus->devices);
    free(bus->regions);
    free(bus);
}

/* Maps are read without a lock, and freed by hazard pointers (Michael, "Hazard Pointers", IEEE TPDS 15(6), 2004).
 *
 * A reader stores the map that it is about to use, then looks whether it is still the bus's map. A writer first makes
 * another one the bus's, then looks at what readers have stored, and frees a map that none of them has. Both are pairs
 * of a store and a load of different words, all four in the one order of sequentially consistent operations. So either
 * the writer sees that the reader has the map, and keeps it; or the reader's store comes after the writer looked, and
 * then its own look finds the map replaced, and it takes the new one. A reader never uses what it has not found to be
 * the bus's map after its store. Where that map has meanwhile been freed and another one allocated in its place, the
 * other one is what is used, and what the store protects.
 *
 * A vCPU is a reader from bus_enter() to bus_leave(), never in the guest nor while Python answers; and a region is
 * never freed before the bus. So at most one replaced map a vCPU waits to be freed, however often a guest moves one.
 * The reader's full barrier costs some 9 ns a look-up; a lock that vCPUs share would cost more the more of them there
 * are. */
const struct bus_map *bus_enter(struct bus *bus, uint32_t reader)
{
    const struct bus_map *map;

    do {
        map = LOAD(bus->map);
        __atomic_store_n(&bus->readers[reader].map, map, __ATOMIC_SEQ_CST);
    } while (map != __atomic_load_n(&bus->map, __ATOMIC_SEQ_CST));
    return map;
}

void bus_leave(struct bus *bus, uint32_t reader)
{
    STORE(bus->readers[reader].map, NULL);
}

static bool is_read(const struct bus *bus, const struct bus_map *map)
{
    for (uint32_t i = 0; i < BUS_READERS; i++)
        if (__atomic_load_n(&bus->readers[i].map, __ATOMIC_SEQ_CST) == map)
            return true;
    return false;
}

bool bus_remap(struct bus *bus, const struct bus_range *ranges, uint32_t n_ports, uint32_t n_mmio)
{
    size_t size = ((size_t)n_ports + n_mmio) * sizeof *ranges;
    struct bus_map *map = malloc(sizeof *map + size), *old, **at;

    if (!map)
        return false;
    *map = (struct bus_map){.n_ports = n_ports, .n_mmio = n_mmio};
    memcpy(map->ranges, ranges, size);
    old = __atomic_exchange_n(&bus->map, map, __ATOMIC_SEQ_CST);
    old->next = bus->replaced;
    bus->replaced = old;
    for (at = &bus->replaced; *at;) {
        old = *at;
        if (is_read(bus, old)) {
            at = &old->next;
        } else {
            *at = old->next;
            free(old);
        }
    }
    return true;
}

const struct bus_range *bus_find(const struct bus_map *map, bool mmio, uint64_t address, uint64_t *room)
{
    const struct bus_range *ranges = mmio ? map->ranges + map->n_ports : map->ranges;
    uint32_t n = mmio ? map->n_mmio : map->n_ports, low = 0, high = n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (address < ranges[middle].start)
            high = middle;
        else if (address >= ranges[middle].end)
            low = middle + 1;
        else {
            *room = ranges[middle].end - address;
            return &ranges[middle];
        }
    }
    *room = (low < n ? ranges[low].start : UINT64_MAX) - address;
    return NULL;
}

struct bus_register *bus_register(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size)
{
    struct bus_region *owner = &bus->regions[region];
    uint32_t n = LOAD(owner->n_registers);

    for (uint32_t i = 0; i < n; i++)
        if (owner->registers[i].offset == offset && owner->registers[i].size == size)
            return &owner->registers[i];
    return NULL;
}

/* Only the thread that holds the device's lock in Python adds registers; vCPU loops read them meanwhile. */
static struct bus_register *obtain(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size)
{
    struct bus_region *owner = &bus->regions[region];
    struct bus_register *found = bus_register(bus, region, offset, size);

    if (found || owner->n_registers == BUS_REGISTERS)
        return found;
    found = &owner->registers[owner->n_registers];
    memset(found, 0, sizeof *found);
    found->offset = offset;
    found->size = size;
    STORE(owner->n_registers, owner->n_registers + 1);
    return found;
}

bool bus_shadow(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, bool read, uint64_t value)
{
    struct bus_register *entry = obtain(bus, region, offset, size);

    if (!entry)
        return false;
    lock(&bus->lock);
    /* Until the device has been given the newest shadowed write, it does not know the register's value. */
    if (read && entry->shadowed <= LOAD(bus->flushed))
        STORE(entry->value, value);
    STORE(entry->read, read);
    unlock(&bus->lock);
    return true;
}

bool bus_writes(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, uint8_t how)
{
    struct bus_register *entry = obtain(bus, region, offset, size);

    if (entry)
        STORE(entry->write, how);
    return entry;
}

bool bus_shadow_writes(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, uint64_t mask)
{
    struct bus_register *entry = obtain(bus, region, offset, size);

    if (!entry)
        return false;
    STORE(entry->mask, mask);
    STORE(entry->write, WRITE_SHADOWED);
    return true;
}

bool bus_clears(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, uint64_t of)
{
    struct bus_register *cleared = obtain(bus, region, of, size), *entry = obtain(bus, region, offset, size);

    if (!cleared || !entry)
        return false;
    entry->cleared = cleared;
    STORE(entry->write, WRITE_CLEARS);
    return true;
}

bool bus_rings(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, struct bus_bell *bell)
{
    struct bus_register *entry = obtain(bus, region, offset, size);

    if (!entry)
        return false;
    entry->bell = bell;
    STORE(entry->write, WRITE_RINGS);
    return true;
}

void bus_ring(struct bus_bell *bell, uint64_t number, uint64_t tsc)
{
    uint64_t never = 0, one = 1;

    if (number >= BUS_DOORS)
        return;
    if (bell->doors) {
        if (number < bell->n_doors && write(bell->doors[number], &one, sizeof one) < 0)
            return; /* a full counter: likewise */
        return;
    }
    __atomic_compare_exchange_n(&bell->when[number], &never, tsc, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    /* The thread reads its event first, then takes the bits. So whoever finds none set must write, and nobody else. */
    if (!__atomic_fetch_or(&bell->rung, UINT64_C(1) << number, __ATOMIC_SEQ_CST) &&
        write(bell->event, &one, sizeof one) < 0)
        return; /* a full counter: it is woken already */
}

uint64_t *bus_bits(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size)
{
    struct bus_register *entry = bus_register(bus, region, offset, size);

    return entry ? &entry->value : NULL;
}

uint64_t bits_change(uint64_t *bits, uint64_t set, uint64_t clear)
{
    uint64_t before = LOAD(*bits);

    while (
        !__atomic_compare_exchange_n(bits, &before, (before & ~clear) | set, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
    return (before & ~clear) | set;
}

bool bus_queue(struct bus *bus, uint32_t region, uint64_t offset, uint8_t size, const uint8_t *bytes, uint32_t length,
               struct bus_register *shadowed)
{
    struct bus_piece *last;
    uint64_t one = 1;
    bool queued = false, hurried, tell;

    lock(&bus->lock);
    last = bus->n_pieces ? &bus->pieces[bus->n_pieces - 1] : NULL;
    bool joins = last && last->region == region && last->offset == offset && last->size == size;
    uint32_t used = bus->used, pieces = bus->n_pieces;
    if (used + length <= BUS_QUEUE && (joins || pieces < BUS_PIECES)) {
        if (joins)
            last->length += length;
        else
            bus->pieces[bus->n_pieces++] = (struct bus_piece){++bus->numbered, offset, size, length, region};
        memcpy(bus->bytes + used, bytes, length);
        bus->used += length;
        if (shadowed) {
            uint64_t value = 0;
            memcpy(&value, bytes, size);
            STORE(shadowed->value, value);
            shadowed->shadowed = bus->numbered;
        }
        queued = true;
    }
    hurried = queued && LOAD(bus->devices[bus->regions[region].device].flush_at_once) &&
              !__atomic_exchange_n(&bus->hurry, 1, __ATOMIC_ACQ_REL);
    /* The first bytes wake the device thread; so does a queue that fills while that thread lingers. */
    tell = !queued || !used || hurried || (bus->used >= BUS_QUEUE / 2 && used < BUS_QUEUE / 2) ||
           (bus->n_pieces >= BUS_PIECES / 2 && pieces < BUS_PIECES / 2);
    unlock(&bus->lock);
    if (tell && write(bus->event, &one, sizeof one) < 0)
        return queued; /* a full counter: it is woken already */
    return queued;
}

uint32_t bus_take(struct bus *bus, struct bus_piece *pieces, uint8_t *bytes)
{
    uint32_t n;

    lock(&bus->lock);
    n = bus->n_pieces;
    memcpy(pieces, bus->pieces, n * sizeof *pieces);
    memcpy(bytes, bus->bytes, bus->used);
    bus->n_pieces = bus->used = 0;
    unlock(&bus->lock);
    __atomic_add_fetch(&bus->takes, 1, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&bus->waiting, 0, __ATOMIC_SEQ_CST))
        futex_wake(&bus->takes, INT_MAX);
    return n;
}

void bus_await_room(struct bus *bus, uint32_t takes)
{
    __atomic_store_n(&bus->waiting, 1, __ATOMIC_SEQ_CST);
    futex_wait(&bus->takes, takes);
}

/* Wait for the eventfd and reset it; true when it was set. */
static bool consume(const struct bus *bus, int64_t timeout)
{
    struct pollfd poller = {.fd = bus->event, .events = POLLIN};
    const struct timespec limit = {.tv_sec = timeout / 1000000000, .tv_nsec = timeout % 1000000000};
    uint64_t count;

    if (ppoll(&poller, 1, timeout < 0 ? NULL : &limit, NULL) != 1)
        return false;
    return read(bus->event, &count, sizeof count) == sizeof count;
}

void bus_wait(struct bus *bus, int linger, int64_t timeout)
{
    if (!consume(bus, timeout))
        return;
    if (__atomic_exchange_n(&bus->hurry, 0, __ATOMIC_ACQ_REL))
        return;
    consume(bus, timeout >= 0 && timeout < (int64_t)linger * 1000000 ? timeout : (int64_t)linger * 1000000);
}

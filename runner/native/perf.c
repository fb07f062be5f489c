#define _GNU_SOURCE /* syscall */
#include "perf.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ring.h"

enum { PAGE = 4096, READINGS = 8 };
#define NOTHING UINT64_MAX

int perf_open(uint64_t id, int thread, int output, uint32_t watermark)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof attr,
        .config = id,
        .sample_period = 1,
        .sample_type = PERF_SAMPLE_TIME | PERF_SAMPLE_CPU | PERF_SAMPLE_RAW,
        .watermark = 1,
        .wakeup_watermark = watermark,
        .use_clockid = 1,
        /* Never adjusted, so two readings give the TSC's rate against it; and it can be read in any context. */
        .clockid = CLOCK_MONOTONIC_RAW,
    };
    int fd = (int)syscall(SYS_perf_event_open, &attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (output >= 0 && ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, output) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

void perf_ring_init(struct perf_ring *ring, void *page, uint64_t size, uint16_t vcpu)
{
    struct perf_event_mmap_page *control = page;

    *ring = (struct perf_ring){.head = (uint64_t *)&control->data_head,
                               .tail = (uint64_t *)&control->data_tail,
                               .data = (uint8_t *)page + PAGE,
                               .size = size,
                               .vcpu = vcpu};
}

bool perf_map(struct perf_ring *ring, int fd, uint64_t size, uint16_t vcpu)
{
    void *page = mmap(NULL, PAGE + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (page == MAP_FAILED)
        return false;
    perf_ring_init(ring, page, size, vcpu);
    return true;
}

void perf_unmap(struct perf_ring *ring)
{
    if (ring->data)
        munmap((void *)(ring->data - PAGE), PAGE + ring->size);
    ring->data = NULL;
}

static int64_t raw_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The fastest of several readings, which was not interrupted. */
void perf_clock_read(struct perf_clock *clock, uint64_t tsc_start, uint64_t tsc_khz)
{
    uint64_t best = UINT64_MAX;

    clock->raw[0] = clock->raw[1];
    clock->t[0] = clock->t[1];
    for (int i = 0; i < READINGS; i++) {
        uint64_t before = tsc_now();
        int64_t raw = raw_now();
        uint64_t took = tsc_now() - before;
        if (took < best) {
            best = took;
            clock->raw[1] = raw;
            clock->t[1] = (int64_t)((__int128)(int64_t)(before + took / 2 - tsc_start) * 1000000 / (int64_t)tsc_khz);
        }
    }
}

static int64_t trace_time(const struct perf_clock *clock, uint64_t raw)
{
    int64_t span = clock->raw[1] - clock->raw[0], since = (int64_t)raw - clock->raw[0];

    if (span <= 0)
        return clock->t[1] + (int64_t)raw - clock->raw[1];
    return clock->t[0] + (int64_t)((__int128)since * (clock->t[1] - clock->t[0]) / span);
}

/* Bytes of the ring from a running offset on; they may wrap around its end. */
static void copy(const struct perf_ring *ring, uint64_t at, void *to, uint64_t length)
{
    uint64_t start = at & (ring->size - 1), first = ring->size - start;

    if (first > length)
        first = length;
    memcpy(to, ring->data + start, first);
    memcpy((uint8_t *)to + first, ring->data, length - first);
}

static uint64_t field_value(const struct perf_field *field, const uint8_t *raw)
{
    uint64_t value = 0;

    memcpy(&value, raw + field->offset, field->size); /* x86 is little-endian */
    if (field->is_signed && field->size < 8 && value >> (field->size * 8 - 1) & 1)
        value |= UINT64_MAX << field->size * 8;
    if (field->negate)
        value = -value;
    return field->shift ? value << field->shift : value;
}

static int16_t name_code(const struct perf_names *names, uint8_t kind, uint64_t reason)
{
    if (kind == 2)
        return reason < names->n_user ? names->user[reason] : names->unknown;
    switch (names->isa) {
    case 1:
        reason &= 0xffff; /* the basic reason; bit 31 says that the entry failed */
        return reason < names->n_vmx ? names->vmx[reason] : names->unknown;
    case 2:
        if (reason == 0xffffffff || reason == UINT64_MAX)
            return names->svm_err;
        return reason < names->n_svm ? names->svm[reason] : names->unknown;
    default:
        return names->unknown;
    }
}

/* A sample's body as perf_open asked for it: time, processor, raw data. */
struct sample {
    uint64_t time;
    uint32_t cpu, reserved, raw_size;
} __attribute__((packed));

static const struct perf_format *find(const struct perf_format *formats, uint32_t n, uint16_t id)
{
    for (uint32_t i = 0; i < n; i++)
        if (formats[i].id == id)
            return &formats[i];
    return NULL;
}

static bool fits(const struct perf_format *format, uint64_t length)
{
    for (uint32_t i = 0; i < format->n_fields; i++)
        if ((uint64_t)format->fields[i].offset + format->fields[i].size > length)
            return false;
    return true;
}

/* Skip to the next sample; its time becomes `next`, NOTHING if there is none before `head`. */
static void advance(struct perf_ring *ring, uint64_t head)
{
    struct perf_event_header header;

    for (; head - ring->cursor >= sizeof header && head - ring->cursor <= ring->size; ring->cursor += header.size) {
        copy(ring, ring->cursor, &header, sizeof header);
        if (header.size < sizeof header || header.size > head - ring->cursor)
            break;
        if (header.type == PERF_RECORD_SAMPLE && header.size >= sizeof header + sizeof(struct sample)) {
            copy(ring, ring->cursor + sizeof header, &ring->next, sizeof ring->next);
            return;
        }
        if (header.type == PERF_RECORD_SAMPLE) {
            ring->samples++;
            ring->unknown++;
        }
    }
    if (head - ring->cursor >= sizeof header) { /* the kernel writes no such ring: drop its contents */
        ring->unknown++;
        ring->cursor = head;
    }
    ring->next = NOTHING;
}

/* Write the sample at the cursor as a row; false if no format describes it. */
static bool decode(struct perf_ring *ring, const struct perf_format *formats, uint32_t n,
                   const struct perf_clock *clock, struct perf_names *names, struct tracepoints_columns *to,
                   uint64_t row)
{
    static _Thread_local uint8_t body[UINT16_MAX + 1];
    struct perf_event_header header;
    struct sample *sample = (struct sample *)body;
    const uint8_t *raw = body + sizeof *sample;
    const struct perf_format *format;
    uint64_t slots[SLOTS] = {0};
    uint16_t id;

    copy(ring, ring->cursor, &header, sizeof header);
    copy(ring, ring->cursor + sizeof header, body, header.size - sizeof header);
    if (sample->raw_size < sizeof id || sample->raw_size > header.size - sizeof header - sizeof *sample)
        return false;
    memcpy(&id, raw, sizeof id); /* common_type */
    format = find(formats, n, id);
    if (!format || !fits(format, sample->raw_size))
        return false;
    for (uint32_t i = 0; i < format->n_fields; i++)
        slots[format->fields[i].slot] |= field_value(&format->fields[i], raw);
    if (slots[SLOT_ISA])
        names->isa = (uint32_t)slots[SLOT_ISA];
    to->vcpu[row] = ring->vcpu;
    to->t[row] = trace_time(clock, sample->time);
    to->event[row] = format->code;
    to->host_cpu[row] = (uint16_t)sample->cpu;
    to->exit[row] = format->names ? name_code(names, format->names, slots[SLOT_REASON]) : 0;
    tracepoints_put(to, row, slots);
    return true;
}

uint64_t perf_drain(struct perf_ring *rings, uint32_t n, const struct perf_format *formats, uint32_t n_formats,
                    const struct perf_clock *clock, struct perf_names *names, struct tracepoints_columns *columns)
{
    uint64_t heads[n], row = 0;

    for (uint32_t i = 0; i < n; i++) {
        heads[i] = __atomic_load_n(rings[i].head, __ATOMIC_ACQUIRE);
        rings[i].cursor = *rings[i].tail;
        advance(&rings[i], heads[i]);
    }
    while (row < columns->rows) {
        struct perf_ring *ring = NULL;
        uint16_t size;
        uint32_t at = 0;
        for (uint32_t i = 0; i < n; i++)
            if (rings[i].next != NOTHING && (!ring || rings[i].next < ring->next)) {
                ring = &rings[i];
                at = i;
            }
        if (!ring || (int64_t)ring->next > clock->raw[1])
            break;
        if (decode(ring, formats, n_formats, clock, names, columns, row)) {
            /* An interrupt between an event's time stamp and its place in the ring may have put its own before it. */
            for (uint64_t i = row; i > 0 && columns->t[i] < columns->t[i - 1]; i--)
                tracepoints_swap(columns, i, i - 1);
            row++;
        } else {
            ring->unknown++;
        }
        ring->samples++;
        copy(ring, ring->cursor + offsetof(struct perf_event_header, size), &size, sizeof size);
        ring->cursor += size;
        advance(ring, heads[at]);
    }
    for (uint32_t i = 0; i < n; i++)
        __atomic_store_n(rings[i].tail, rings[i].cursor, __ATOMIC_RELEASE);
    return row;
}

void perf_wait(int *fds, uint32_t n, int event, int milliseconds)
{
    struct pollfd pollers[n + 1];
    uint64_t count;

    for (uint32_t i = 0; i < n; i++)
        pollers[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    pollers[n] = (struct pollfd){.fd = event, .events = POLLIN};
    if (poll(pollers, n + 1, milliseconds) <= 0)
        return;
    for (uint32_t i = 0; i < n; i++)
        if (pollers[i].revents & (POLLHUP | POLLERR))
            fds[i] = -1; /* its thread has ended; poll would report it forever */
    if (pollers[n].revents && read(event, &count, sizeof count) < 0)
        return;
}

/* KVM's tracepoints: perf events on a vCPU's thread, their ring, and its records as columns. */
#ifndef VMRUN_PERF_H
#define VMRUN_PERF_H

#include <stdbool.h>
#include <stdint.h>

#include "record.h"

enum { PERF_FIELDS = 12 }; /* of one event that are kept */

/* One field of a raw record, by the kernel's published format; 1, 2, 4 or 8 bytes. */
struct perf_field {
    uint16_t offset;
    uint8_t size, is_signed, slot, shift, negate;
};

/* One kind of event: its id (common_type), its code in the table, its fields. */
struct perf_format {
    uint16_t id;
    int8_t code;
    uint8_t names; /* what its reason means: 0 nothing, 1 the processor's exit code, 2 KVM_EXIT_* */
    uint32_t n_fields;
    struct perf_field fields[PERF_FIELDS];
};

/* One ring: the mapping of a vCPU's first event, which the others of that vCPU write to as well. */
struct perf_ring {
    uint64_t *head, *tail; /* of struct perf_event_mmap_page */
    const uint8_t *data;
    uint64_t size; /* bytes of data, a power of two */
    uint64_t samples; /* taken out of the ring; the kernel lost the others that it counted */
    uint64_t unknown; /* records that no format describes, or that are shorter than theirs */
    uint64_t cursor, next; /* consumer: where the drain stands, the time of the record there */
    uint16_t vcpu;
};

/* Two readings of both clocks, perf's and the trace's, in ns. */
struct perf_clock {
    int64_t raw[2], t[2];
};

/* Codes of the exits' names: dense for small numbers; reasons past the end, and isa 0, have the code `unknown`. */
struct perf_names {
    const int16_t *vmx, *svm, *user;
    uint32_t n_vmx, n_svm, n_user;
    int16_t svm_err, unknown;
    uint32_t isa; /* that of the last kvm_exit; before the first, what the host's module says */
};

/* Open a tracepoint on a thread; returns the descriptor, or -errno. `output`: a descriptor whose ring it writes to, -1
 * for a ring of its own. The ring wakes its reader when it has `watermark` bytes. */
int perf_open(uint64_t id, int thread, int output, uint32_t watermark);
/* Map the ring of a descriptor; false, with errno, if that fails. `size` is that of its data. */
bool perf_map(struct perf_ring *ring, int fd, uint64_t size, uint16_t vcpu);
void perf_unmap(struct perf_ring *ring);
/* A ring in memory: a perf_event_mmap_page and the data after it. For perf_map and for tests. */
void perf_ring_init(struct perf_ring *ring, void *page, uint64_t size, uint16_t vcpu);

/* Read both clocks and keep the reading as the newer of the two; time 0 is tsc_start. */
void perf_clock_read(struct perf_clock *clock, uint64_t tsc_start, uint64_t tsc_khz);
/* Merge the records of all rings up to the newest reading of the clock into the columns, in the order of time; returns
 * the rows. What was taken is free at once. */
uint64_t perf_drain(struct perf_ring *rings, uint32_t n, const struct perf_format *formats, uint32_t n_formats,
                    const struct perf_clock *clock, struct perf_names *names, struct tracepoints_columns *columns);
/* Wait until one of the descriptors has reached its watermark or the event is written, at most `milliseconds`. A
 * descriptor whose thread has ended becomes -1. */
void perf_wait(int *fds, uint32_t n, int event, int milliseconds);

#endif

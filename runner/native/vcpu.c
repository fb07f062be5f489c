#define _GNU_SOURCE /* syscall */
#include "vcpu.h"

#include "atomic.h"
#include "futex.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SREGS_INTERVAL (1 << 24) /* ticks of the TSC: 4 to 8 ms */

static void nothing(int signal)
{
    (void)signal;
}

bool vcpu_handle_signal(int signal)
{
    struct sigaction action = {.sa_handler = nothing}; /* no SA_RESTART: KVM_RUN must return */

    sigemptyset(&action.sa_mask);
    return sigaction(signal, &action, NULL) == 0;
}

void vcpu_stop(struct vcpu *vcpu, int thread, int signal)
{
    STORE(vcpu->stopping, 1);
    vcpu_release(vcpu);
    vcpu_kick(vcpu, thread, signal);
}

void vcpu_kick(struct vcpu *vcpu, int thread, int signal)
{
    STORE(vcpu->run->immediate_exit, 1);
    /* By kernel id: signalling a thread that has ended is then no error; pthread_kill does not promise that. */
    syscall(SYS_tgkill, getpid(), thread, signal);
}

static void describe(struct vcpu *vcpu)
{
    const struct vcpu_transfer *transfer = &vcpu->transfer;
    struct record *record = vcpu->record;

    if (!record || !transfer->size)
        return;
    record->addr = transfer->address;
    record->size = (uint8_t)transfer->size;
    record->count = transfer->length / transfer->size;
    record->direction = transfer->write ? DIRECTION_WRITE : DIRECTION_READ;
}

/* Put the bytes that an access moved into its record. */
static void moved(struct vcpu *vcpu, const uint8_t *data, uint32_t length)
{
    if (!vcpu->record)
        return;
    memcpy(&vcpu->record->data, data, length < 8 ? length : 8);
    if (length > 8 && !ring_payload(vcpu->ring, vcpu->record, data, length)) {
        ring_cancel(vcpu->ring);
        vcpu->record = NULL;
    }
}

static void flag(struct vcpu *vcpu, uint16_t bits)
{
    if (vcpu->record)
        vcpu->record->flags |= bits;
}

/* Queue a write, waiting for the device thread where the queue is full. A stop ends the wait: the
 * access then goes to Python whole. */
static bool queue(struct vcpu *vcpu, const struct vcpu_access *access, struct bus_register *shadowed)
{
    struct bus *bus = vcpu->bus;
    uint32_t length = access->size * access->count;

    for (;;) {
        uint32_t takes = LOAD(bus->takes);
        if (bus_queue(bus, access->region, access->offset, access->size, access->data, length, shadowed))
            return true;
        if (LOAD(vcpu->stopping))
            return false;
        bus_await_room(bus, takes);
    }
}

/* Whether a write sets only bits that the register takes without Python, now. */
static bool is_shadowed(const struct vcpu_access *access, const struct bus_register *entry)
{
    uint64_t value = 0;

    memcpy(&value, access->data, access->size);
    return access->count == 1 && !(value & ~LOAD(entry->mask));
}

/* Choose the next part of the transfer; false if no region is there. */
static bool next_part(struct vcpu *vcpu, const struct bus_map *map)
{
    struct vcpu_transfer *transfer = &vcpu->transfer;
    struct vcpu_access *access = &vcpu->access;
    uint32_t within = transfer->done % transfer->size, size = transfer->size - within, left;
    uint64_t address = transfer->address + within, room;
    const struct bus_range *range = bus_find(map, transfer->mmio, address, &room);
    bool first = !transfer->done;

    if (room < size)
        size = (uint32_t)room;
    while (size & (size - 1))
        size &= size - 1; /* the largest power of two in it */
    left = transfer->length - transfer->done;
    *access = (struct vcpu_access){
        .data = transfer->data + transfer->done,
        .count = size == transfer->size ? left / size : 1,
        .size = (uint8_t)size,
        .write = transfer->write,
    };
    transfer->done += size * access->count;
    if (size != transfer->size)
        flag(vcpu, FLAG_SPLIT);
    if (!range)
        return false;
    access->region = range->region;
    access->offset = address - range->start;
    if (first)
        COUNT(vcpu->bus->devices[vcpu->bus->regions[range->region].device].exits);
    if (vcpu->record && vcpu->record->device < 0) {
        vcpu->record->device = (int16_t)vcpu->bus->regions[range->region].device;
        vcpu->record->region = vcpu->bus->regions[range->region].number;
    }
    return true;
}

/* Let each item that was written clear bits, or ring a bell. */
static void act(const struct vcpu *vcpu, const struct vcpu_access *access, const struct bus_register *entry)
{
    for (uint32_t i = 0; i < access->count; i++) {
        uint64_t value = 0;
        memcpy(&value, access->data + (uint64_t)i * access->size, access->size);
        if (entry->write == WRITE_CLEARS)
            bits_change(&entry->cleared->value, 0, value);
        else
            bus_ring(entry->bell, value, vcpu->record ? vcpu->record->tsc_exit : tsc_now());
    }
}

/* Whether a device may be given its writes later. With virtual time not if it wants them at once: what it does then
 * would come at a moment of the host's. */
static bool is_patient(const struct vcpu *vcpu, const struct vcpu_access *access)
{
    const struct bus *bus = vcpu->bus;

    return !vcpu->time || !LOAD(bus->devices[bus->regions[access->region].device].flush_at_once);
}

/* Answer the current part in C if it has a shadow register; false: Python must. */
static bool answer_part(struct vcpu *vcpu)
{
    struct vcpu_access *access = &vcpu->access;
    struct bus_register *entry = bus_register(vcpu->bus, access->region, access->offset, access->size);

    if (entry && access->write && LOAD(entry->write) == WRITE_COALESCED && is_patient(vcpu, access) &&
        queue(vcpu, access, NULL)) {
        flag(vcpu, FLAG_QUEUED);
    } else if (entry && access->write && LOAD(entry->write) == WRITE_SHADOWED && is_shadowed(access, entry) &&
               is_patient(vcpu, access) && queue(vcpu, access, entry)) {
        flag(vcpu, FLAG_QUEUED);
    } else if (entry && access->write && LOAD(entry->write) >= WRITE_CLEARS) {
        act(vcpu, access, entry);
        flag(vcpu, entry->write == WRITE_CLEARS ? FLAG_PUBLISHED : FLAG_QUEUED);
    } else if (entry && access->write && LOAD(entry->write) == WRITE_IGNORED) {
        flag(vcpu, FLAG_PUBLISHED);
    } else if (entry && !access->write && LOAD(entry->read)) {
        uint64_t value = LOAD(entry->value);
        for (uint32_t i = 0; i < access->count; i++)
            memcpy(access->data + (uint64_t)i * access->size, &value, access->size);
        flag(vcpu, FLAG_PUBLISHED);
    } else {
        flag(vcpu, FLAG_PYTHON);
        return false;
    }
    return true;
}

/* Answer the rest of the transfer; false: Python must answer the current part. */
static bool answer(struct vcpu *vcpu)
{
    struct vcpu_transfer *transfer = &vcpu->transfer;

    while (transfer->done < transfer->length) {
        bool found = next_part(vcpu, bus_enter(vcpu->bus, vcpu->reader));
        bus_leave(vcpu->bus, vcpu->reader); /* answering may wait for room in the queue */
        if (found) {
            if (!answer_part(vcpu))
                return false;
        } else if (!transfer->write) {
            memset(vcpu->access.data, 0xff, (size_t)vcpu->access.size * vcpu->access.count);
        }
    }
    if (vcpu->record && vcpu->record->device < 0)
        flag(vcpu, FLAG_UNCLAIMED);
    moved(vcpu, transfer->data, transfer->length);
    return true;
}

/* Describe what a port or memory access moves; false: the exit is another one. */
static bool transfers(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        vcpu->transfer = (struct vcpu_transfer){
            .address = run->io.port,
            .data = (uint8_t *)run + run->io.data_offset,
            .size = run->io.size,
            .length = run->io.size * run->io.count,
            .write = run->io.direction == KVM_EXIT_IO_OUT,
        };
        break;
    case KVM_EXIT_MMIO:
        vcpu->transfer = (struct vcpu_transfer){
            .address = run->mmio.phys_addr,
            .data = run->mmio.data,
            .size = run->mmio.len,
            .length = run->mmio.len,
            .mmio = true,
            .write = run->mmio.is_write,
        };
        break;
    default:
        return false;
    }
    describe(vcpu);
    return true;
}

/* An MSR that the filter denies. */
static void answer_msr(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;

    virtual_msr(vcpu->time, run);
    vcpu->transfer = (struct vcpu_transfer){
        .address = run->msr.index,
        .data = (uint8_t *)&run->msr.data,
        .size = 8,
        .length = 8,
        .write = run->exit_reason == KVM_EXIT_X86_WRMSR,
    };
    describe(vcpu);
    moved(vcpu, vcpu->transfer.data, 8);
}

/* A read of the device that stands for the TSC. Its row has the whole TSC. */
static bool answer_tsc(struct vcpu *vcpu, enum vcpu_outcome *outcome)
{
    next_part(vcpu, bus_enter(vcpu->bus, vcpu->reader));
    bus_leave(vcpu->bus, vcpu->reader);
    flag(vcpu, FLAG_PUBLISHED);
    *vcpu->transfer.data = (uint8_t)vcpu->time->now;
    if (vcpu->record)
        vcpu->record->data = vcpu->time->now;
    if (virtual_load_tsc(vcpu->time->now, vcpu->fd))
        return true;
    vcpu->error = errno;
    *outcome = VCPU_FAILED;
    return false;
}

/* Describe the exit for Python, which compares it with a recording. */
static void replay(struct vcpu *vcpu)
{
    uint32_t reason = vcpu->run->exit_reason;

    vcpu->transfer = (struct vcpu_transfer){0};
    if (reason == KVM_EXIT_X86_RDMSR || reason == KVM_EXIT_X86_WRMSR)
        answer_msr(vcpu);
    else
        transfers(vcpu);
}

/* Returns true if the loop can continue, false if Python must act (the outcome is in *outcome). */
static bool handle(struct vcpu *vcpu, enum vcpu_outcome *outcome)
{
    struct kvm_run *run = vcpu->run;

    *outcome = VCPU_ACCESS;
    if (transfers(vcpu))
        return vcpu->time && virtual_reads_tsc(vcpu->time, run) ? answer_tsc(vcpu, outcome) : answer(vcpu);
    switch (run->exit_reason) {
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_INTR:
        return true;
    case KVM_EXIT_HLT:
        *outcome = VCPU_EXIT;
        return vcpu->time; /* it decides whether the guest wakes */
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        *outcome = VCPU_EXIT;
        if (!vcpu->time)
            return false;
        answer_msr(vcpu);
        return true;
    case KVM_EXIT_INTERNAL_ERROR:
        if (vcpu->record)
            vcpu->record->data = run->internal.suberror;
        *outcome = VCPU_EXIT;
        return false;
    default:
        *outcome = VCPU_EXIT;
        return false;
    }
}

/* Keep the registers for a crash report: at a shutdown kvm_amd shows those of a reset vCPU. The general ones cost a
 * copy. The system registers cost KVM 1-2 us, so they are requested every few milliseconds at most. */
static void keep(struct vcpu *vcpu, uint64_t tsc)
{
    struct kvm_run *run = vcpu->run;
    struct vcpu_kept *kept = &vcpu->kept;
    bool due = tsc - kept->tsc_sregs > SREGS_INTERVAL;

    if (!vcpu->sync_regs || run->exit_reason == KVM_EXIT_SHUTDOWN)
        return;
    kept->regs = run->s.regs.regs;
    kept->tsc_regs = tsc;
    if (run->kvm_valid_regs & KVM_SYNC_X86_SREGS) {
        kept->sregs = run->s.regs.sregs;
        kept->tsc_sregs = tsc;
    }
    run->kvm_valid_regs = KVM_SYNC_X86_REGS | (due ? KVM_SYNC_X86_SREGS : 0);
}

static void stamp(struct vcpu *vcpu, uint64_t tsc)
{
    uint32_t reason = vcpu->run->exit_reason;
    struct record *record = ring_open(vcpu->ring, tsc);

    vcpu->counts[reason < 64 ? reason : 0]++;
    keep(vcpu, tsc);
    vcpu->record = record;
    if (!record)
        return;
    record->reason = reason < REASONS ? (uint8_t)reason : 0;
    if (reason >= REASONS)
        record->addr = reason;
    if (vcpu->sync_regs) {
        record->rip = vcpu->run->s.regs.regs.rip;
        record->flags |= FLAG_RIP;
    }
}

static void publish(struct vcpu *vcpu)
{
    if (vcpu->record)
        ring_publish(vcpu->ring, vcpu->record, tsc_now());
    vcpu->record = NULL;
}

bool vcpu_handle(struct vcpu *vcpu, enum vcpu_outcome *outcome)
{
    stamp(vcpu, tsc_now());
    guest_debug_exit(&vcpu->debug, vcpu->run->exit_reason);
    if (vcpu->time && vcpu->time->replayed) {
        replay(vcpu);
        *outcome = VCPU_REPLAY;
        return false;
    }
    if (vcpu->time && vcpu->run->exit_reason != KVM_EXIT_INTR)
        virtual_exit(vcpu->time, vcpu->run);
    if (handle(vcpu, outcome))
        return true;
    vcpu->answered = *outcome == VCPU_ACCESS;
    return false;
}

/* The vCPU's account of time begins here. */
static void begin(struct ring_control *control)
{
    STORE(control->thread, (uint64_t)syscall(SYS_gettid));
    STORE(control->start, tsc_now());
}

/* Wait while the debugger holds the vCPU, and if the gate is closed; returns the TSC afterwards. */
static uint64_t stand(struct vcpu *vcpu)
{
    uint64_t tsc = tsc_now();

    if (!LOAD(vcpu->stopping) && (gate_is_closed(vcpu->gate) || LOAD(vcpu->debug.held))) {
        ring_pause(vcpu->ring, tsc);
        gate_hold(&vcpu->debug.held, &vcpu->standing);
        gate_stand(vcpu->gate, &vcpu->standing);
        tsc = tsc_now();
        ring_resume(vcpu->ring, tsc);
    }
    return tsc;
}

/* After KVM_RUN was interrupted, or if the vCPU is held: wait, then let KVM_RUN be entered again. Whoever kicks the
 * thread stores the reason first, so the second check finds a reason that came in between. False: the run has ended; if
 * it ended in a pause, the vCPU stopped when the pause ended. */
static bool goes_on(struct vcpu *vcpu)
{
    struct ring_control *control = vcpu->ring->control;
    uint64_t tsc = stand(vcpu);

    if (LOAD(vcpu->stopping)) {
        STORE(control->stop, tsc);
        return false;
    }
    __atomic_exchange_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (LOAD(vcpu->stopping) || gate_is_closed(vcpu->gate))
        STORE(vcpu->run->immediate_exit, 1);
    return true;
}

bool vcpu_stands(struct vcpu *vcpu)
{
    return gate_stands(vcpu->gate, &vcpu->standing);
}

bool vcpu_debug(struct vcpu *vcpu, uint32_t inject)
{
    return guest_debug_set(&vcpu->debug, vcpu->fd, inject);
}

void vcpu_release(struct vcpu *vcpu)
{
    gate_release(&vcpu->debug.held);
}

void vcpu_leave(struct vcpu *vcpu)
{
    gate_leave(&vcpu->standing);
}

/* Wait as stand() does; false: the run has ended. */
static bool stands_and_goes_on(struct vcpu *vcpu)
{
    stand(vcpu);
    return !LOAD(vcpu->stopping);
}

/* Let an exit have its consequences in virtual time; false: Python must act. A guest may be halted for long, waiting
 * for what is masked. It can be stopped there once the timers have ticked whose time has come: a state that is saved
 * between the two would have lost them. */
static bool settle(struct vcpu *vcpu, enum vcpu_outcome *outcome)
{
    *outcome = VCPU_STOPPED;
    for (;;) {
        if (vcpu->time->halted && vcpu->time->ticked && !stands_and_goes_on(vcpu))
            return false;
        switch (virtual_next(vcpu->time, vcpu->run)) {
        case VIRTUAL_ENTER:
            if (vcpu->run->request_interrupt_window)
                flag(vcpu, FLAG_WINDOW);
            if (vcpu->record && vcpu->time->taken)
                vcpu->record->vector = vcpu->time->vector;
            if (vcpu->record && vcpu->time->halted)
                vcpu->record->data = vcpu->time->now;
            return true;
        case VIRTUAL_DUE:
            *outcome = VCPU_DUE;
            return false;
        case VIRTUAL_INTERRUPT:
            *outcome = VCPU_INTERRUPT;
            return false;
        case VIRTUAL_EXAMINE:
            *outcome = VCPU_EXAMINE;
            return false;
        case VIRTUAL_HALT:
            *outcome = VCPU_EXIT;
            return false;
        case VIRTUAL_WAIT:
            if (!LOAD(vcpu->stopping))
                futex_wait(&vcpu->time->asked, 0);
            if (!stands_and_goes_on(vcpu))
                return false;
            break;
        case VIRTUAL_JUMPED:
            break;
        }
    }
}

enum vcpu_outcome vcpu_run(struct vcpu *vcpu)
{
    struct ring_control *control = vcpu->ring->control;
    enum vcpu_outcome outcome;

    if (!control->start) {
        gate_stand(vcpu->gate, &vcpu->standing);
        begin(control);
    }
    if (vcpu->answered && !answer(vcpu))
        return VCPU_ACCESS;
    vcpu->answered = 0;
    for (;;) {
        if (vcpu->time && !vcpu->time->replayed && !settle(vcpu, &outcome))
            return outcome;
        publish(vcpu);
        if (LOAD(vcpu->debug.held) && !goes_on(vcpu))
            return VCPU_STOPPED;
        if (vcpu->debug.completes)
            STORE(vcpu->run->immediate_exit, 1);
        if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
            /* EAGAIN: an application processor woken by INIT, not yet by SIPI. */
            if (errno != EINTR && errno != EAGAIN) {
                vcpu->error = errno;
                STORE(control->stop, tsc_now());
                return VCPU_FAILED;
            }
            control->interrupted++;
            if (guest_debug_completed(&vcpu->debug) && vcpu->debug.asks)
                return VCPU_DEBUG;
            if (!goes_on(vcpu))
                return VCPU_STOPPED;
            continue;
        }
        if (guest_debug_stops(&vcpu->debug, vcpu->run)) {
            control->interrupted++;
            if (!vcpu->debug.after_sti || !guest_debug_stepped(vcpu->run)) {
                if (vcpu->debug.asks)
                    return VCPU_DEBUG;
                continue; /* no exit of the guest's: it has no row, and no time passes */
            }
        }
        if (vcpu->time && !virtual_counts(vcpu->time, &vcpu->debug, vcpu->fd, vcpu->run))
            continue;
        if (!vcpu_handle(vcpu, &outcome))
            return outcome;
    }
}

void vcpu_finish(struct vcpu *vcpu)
{
    struct ring_control *control = vcpu->ring->control;
    uint64_t tsc = tsc_now();

    if (control->stop && !vcpu->record) /* it stopped in KVM_RUN, where the loop has stamped it */
        return;
    flag(vcpu, FLAG_LAST);
    if (vcpu->record)
        ring_publish(vcpu->ring, vcpu->record, tsc);
    vcpu->record = NULL;
    STORE(control->stop, tsc);
}

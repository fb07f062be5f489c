/* The vCPU loop: KVM_RUN, stamp, record, answer. It returns to Python only when a device must act or the run ends. */
#ifndef VMRUN_VCPU_H
#define VMRUN_VCPU_H

#include <linux/kvm.h>

#include "bus.h"
#include "debug.h"
#include "gate.h"
#include "ring.h"
#include "virtual.h"

enum vcpu_outcome {
    VCPU_ACCESS,  /* a device must answer `access`; then call vcpu_run again */
    VCPU_STOPPED, /* vcpu_stop was called and the last access is complete */
    VCPU_EXIT,    /* an exit that ends the run: run->exit_reason says which */
    VCPU_FAILED,  /* KVM_RUN failed: errno in `error` */
    VCPU_DUE,       /* virtual time: tick the devices whose time has come; then call vcpu_run again */
    VCPU_EXAMINE,   /* virtual time: look at the guest's state; then call vcpu_run again */
    VCPU_DEBUG,     /* a debugger's stop, which it wants to see here (`debug`.asks); then call vcpu_run again */
    VCPU_REPLAY,    /* a replay: compare the exit and answer `transfer`; then call vcpu_run again */
    VCPU_INTERRUPT, /* virtual time: give the guest the controller's interrupt; then call vcpu_run again */
};

/* What an exit moves: an access, or the items of string I/O, all at one address. */
struct vcpu_transfer {
    uint64_t address;
    uint8_t *data; /* length bytes, within the kvm_run mapping */
    uint32_t size; /* bytes of an item */
    uint32_t length, done; /* bytes in all, bytes answered */
    bool mmio, write;
};

/* A part of a transfer, within one region. A transfer that crosses the end of a region has several. The size of its
 * items is a power of two, as on a bus. */
struct vcpu_access {
    uint8_t *data; /* count items of size bytes */
    uint64_t offset;
    uint32_t count, region;
    uint8_t size;
    uint8_t write;
};

/* The registers at an exit, and the TSC then. */
struct vcpu_kept {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    uint64_t tsc_regs, tsc_sregs; /* 0: none yet */
};

struct vcpu {
    int fd;
    struct kvm_run *run;
    struct bus *bus;
    uint32_t reader; /* its number on the bus */
    struct gate *gate; /* or NULL */
    struct virtual_time *time; /* NULL: the guest has the host's time */
    struct ring *ring;
    struct record *record; /* the exit being handled, NULL if it is not recorded */
    struct vcpu_transfer transfer;
    struct vcpu_access access; /* the current part */
    uint32_t answered;  /* Python has answered the part */
    uint32_t standing;  /* the gate's turn at which the thread waits, 0: it does not wait */
    uint32_t stopping;  /* set by vcpu_stop */
    uint32_t sync_regs; /* KVM fills in the registers at each exit */
    struct guest_debug debug;
    int error;
    uint64_t counts[64]; /* exits by reason */
    struct vcpu_kept kept; /* of the last exit that was no shutdown */
};

enum vcpu_outcome vcpu_run(struct vcpu *vcpu);
/* Record and answer the exit that kvm_run describes; false: Python must act, *outcome says why. */
bool vcpu_handle(struct vcpu *vcpu, enum vcpu_outcome *outcome);
/* Publish the last record: the thread stops here. */
void vcpu_finish(struct vcpu *vcpu);
/* The thread's last act: it counts as waiting from now on. */
void vcpu_leave(struct vcpu *vcpu);
/* Set what `debug` asks for; `inject` are KVM_GUESTDBG_INJECT_*. The thread stands. False, with errno, if it fails. */
bool vcpu_debug(struct vcpu *vcpu, uint32_t inject);
/* Hold the thread no longer. The gate is closed. */
void vcpu_release(struct vcpu *vcpu);
/* Make the vCPU's thread (a kernel thread id) leave KVM_RUN now or at its next entry: no wake-up can be lost between
 * the two. It waits if the gate is closed, and continues otherwise. */
void vcpu_kick(struct vcpu *vcpu, int thread, int signal);
/* The same, and the thread ends. */
void vcpu_stop(struct vcpu *vcpu, int thread, int signal);
/* Whether the thread waits at its closed gate, or has ended; waits up to a tenth of a second for that. A thread waits
 * between two calls of KVM_RUN, with the last exit complete, as KVM_GET_REGS and similar calls require. */
bool vcpu_stands(struct vcpu *vcpu);
/* Install an empty handler for the signal that interrupts KVM_RUN; false, with errno, if that fails. */
bool vcpu_handle_signal(int signal);

#endif

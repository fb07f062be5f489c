/* Debugging of one vCPU's guest. KVM_SET_GUEST_DEBUG replaces everything that was set before, so it has one owner: it
 * combines what a debugger asks for and what virtual time needs. */
#ifndef VMRUN_DEBUG_H
#define VMRUN_DEBUG_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/* Why the vCPU does not enter the guest, also while the machine runs. */
enum debug_held {
    DEBUG_GOES,    /* it does */
    DEBUG_HELD,    /* the debugger does not let it */
    DEBUG_STOPPED, /* it has made an exit that the debugger must see */
};

struct guest_debug {
    uint32_t asked;        /* KVM_GUESTDBG_*: the debugger's; 0: none is there */
    uint32_t after_sti;    /* virtual time's: the guest executes the instruction after STI */
    uint64_t registers[8]; /* the debugger's breakpoints: DR0 to DR3, and DR7 */
    uint32_t held;         /* enum debug_held */
    uint32_t exception;    /* what a stop was: 1 (debug exception) or 3 (breakpoint); its linear address; DR6 */
    uint64_t pc, dr6;
    int event; /* an eventfd that is written at a stop */
};

/* KVM_SET_GUEST_DEBUG; `inject` are KVM_GUESTDBG_INJECT_*. False, with errno, if it fails. */
bool guest_debug_set(const struct guest_debug *debug, int fd, uint32_t inject);
/* Whether KVM_RUN has returned from a single step. */
bool guest_debug_stepped(const struct kvm_run *run);
/* Whether KVM_RUN has returned for the debugger. The vCPU is then held, and the event written. */
bool guest_debug_stops(struct guest_debug *debug, const struct kvm_run *run);

#endif

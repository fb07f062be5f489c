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
    uint32_t completes;    /* the instruction of a step has made an exit: the step is over once it is complete */
    uint32_t exception;    /* what a stop was: 1 (debug exception) or 3 (breakpoint); its linear address; DR6 */
    uint64_t pc, dr6;
    uint32_t asks; /* the loop returns at each stop, instead of holding the vCPU */
    int event; /* an eventfd that is written at a stop */
};

/* KVM_SET_GUEST_DEBUG; `inject` are KVM_GUESTDBG_INJECT_*. False, with errno, if it fails. */
bool guest_debug_set(const struct guest_debug *debug, int fd, uint32_t inject);
/* Whether KVM_RUN has returned from a single step. */
bool guest_debug_stepped(const struct kvm_run *run);
/* The guest has made an exit, and the vCPU is about to enter it again. KVM ends some instructions that made an exit
 * without an end of the step (x86.c, x86_emulate_instruction: "FIXME: return into emulator if single-stepping"), and
 * would execute another one. So KVM_RUN only completes the instruction, and then fails with EINTR. */
void guest_debug_exit(struct guest_debug *debug, uint32_t reason);
/* Whether KVM_RUN, which has failed with EINTR, has ended a step. The vCPU is then held, and the event written, unless
 * `asks`. */
bool guest_debug_completed(struct guest_debug *debug);
/* Whether KVM_RUN has returned for the debugger. The vCPU is then held, and the event written, unless `asks`. */
bool guest_debug_stops(struct guest_debug *debug, const struct kvm_run *run);

#endif

#include "debug.h"

#include "atomic.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEBUG_EXCEPTION 1
#define DR6_BS (1 << 14) /* a single step (Intel SDM volume 3, 17.2.3) */
#define DR6_TRAPS 0xf    /* the debug registers that were met */

bool guest_debug_set(const struct guest_debug *debug, int fd, uint32_t inject)
{
    struct kvm_guest_debug wanted = {.control = debug->asked | inject};

    if (debug->after_sti)
        wanted.control |= KVM_GUESTDBG_SINGLESTEP;
    if (wanted.control)
        wanted.control |= KVM_GUESTDBG_ENABLE;
    memcpy(wanted.arch.debugreg, debug->registers, sizeof(wanted.arch.debugreg));
    return ioctl(fd, KVM_SET_GUEST_DEBUG, &wanted) == 0;
}

bool guest_debug_stepped(const struct kvm_run *run)
{
    return run->exit_reason == KVM_EXIT_DEBUG && run->debug.arch.exception == DEBUG_EXCEPTION &&
           run->debug.arch.dr6 & DR6_BS;
}

static void stop(struct guest_debug *debug, uint32_t exception, uint64_t pc, uint64_t dr6)
{
    const uint64_t one = 1;

    debug->exception = exception;
    debug->pc = pc;
    debug->dr6 = dr6;
    if (debug->asks)
        return;
    /* A full barrier: vcpu_stop stores what this thread reads next, and then lets it go. */
    __atomic_exchange_n(&debug->held, DEBUG_STOPPED, __ATOMIC_SEQ_CST);
    (void)!write(debug->event, &one, sizeof(one));
}

void guest_debug_exit(struct guest_debug *debug, uint32_t reason)
{
    switch (reason) {
    case KVM_EXIT_IO:
    case KVM_EXIT_MMIO:
    case KVM_EXIT_HLT:
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        debug->completes = debug->asked & KVM_GUESTDBG_SINGLESTEP;
        break;
    default:
        debug->completes = 0;
    }
}

bool guest_debug_completed(struct guest_debug *debug)
{
    bool completes = debug->completes;

    if (completes)
        stop(debug, DEBUG_EXCEPTION, 0, DR6_BS);
    debug->completes = 0;
    return completes;
}

bool guest_debug_stops(struct guest_debug *debug, const struct kvm_run *run)
{
    if (run->exit_reason != KVM_EXIT_DEBUG || !debug->asked)
        return false;
    /* Virtual time's own step; but the instruction may also have met a watchpoint of the debugger's. */
    if (debug->after_sti && guest_debug_stepped(run) && !(run->debug.arch.dr6 & DR6_TRAPS) &&
        !(debug->asked & KVM_GUESTDBG_SINGLESTEP))
        return false;
    debug->completes = 0;
    stop(debug, run->debug.arch.exception, run->debug.arch.pc, run->debug.arch.dr6);
    return true;
}

#include "virtual.h"

#include "atomic.h"

#define MSR_TSC 0x10
/* Interfaces of KVM and Hyper-V, which CPUID does not offer: a guest that tries them gets #GP. */
#define PARAVIRTUAL(index) (((index) & 0xfffff000) == 0x40000000 || ((index) & 0xffffff00) == 0x4b564d00)

void virtual_exit(struct virtual_time *time, const struct kvm_run *run)
{
    STORE(time->now, time->now + time->step);
    time->open = 1;
    time->halted = run->exit_reason == KVM_EXIT_HLT;
    time->ticked = time->taken = 0;
}

enum virtual_next virtual_next(struct virtual_time *time, struct kvm_run *run)
{
    if (!time->open)
        return VIRTUAL_ENTER; /* KVM_RUN was interrupted: nothing has changed for the guest */
    if (!time->ticked && LOAD(time->deadline) <= time->now) {
        time->ticked = 1;
        return VIRTUAL_DUE;
    }
    if (time->pending && !time->taken && run->ready_for_interrupt_injection) {
        time->taken = 1;
        return VIRTUAL_INTERRUPT;
    }
    if (time->halted && !time->taken && !(time->pending && run->if_flag)) {
        if (!run->if_flag || LOAD(time->deadline) == VIRTUAL_NEVER)
            return VIRTUAL_HALT;
        if (time->deadline > time->now)
            STORE(time->now, time->deadline);
        time->ticked = 0;
        return VIRTUAL_JUMPED;
    }
    time->open = 0;
    run->request_interrupt_window = time->pending != 0;
    return VIRTUAL_ENTER;
}

/* MSRs of the model exist and are zero; writes of them have no effect. */
void virtual_msr(const struct virtual_time *time, struct kvm_run *run)
{
    run->msr.error = PARAVIRTUAL(run->msr.index);
    if (run->exit_reason == KVM_EXIT_X86_RDMSR)
        run->msr.data = run->msr.index == MSR_TSC ? time->now : 0;
}

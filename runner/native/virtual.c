#include "virtual.h"

#include "atomic.h"

#include <sys/ioctl.h>

#define STI 0xfb
#define MSR_TSC 0x10
/* Interfaces of KVM and Hyper-V, which CPUID does not offer: a guest that tries them gets #GP. */
#define PARAVIRTUAL(index) (((index) & 0xfffff000) == 0x40000000 || ((index) & 0xffffff00) == 0x4b564d00)

static bool step(struct guest_debug *debug, int fd, bool on)
{
    debug->after_sti = on;
    return guest_debug_set(debug, fd, 0);
}

/* Whether the byte before the instruction pointer is STI's. */
static bool is_after_sti(const struct virtual_time *time, int fd)
{
    struct kvm_translation translation = {0};
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    const uint8_t *code;

    if (ioctl(fd, KVM_GET_REGS, &regs) < 0 || ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
        return false;
    translation.linear_address = sregs.cs.base + regs.rip - 1;
    if (ioctl(fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
        return false;
    code = memory_at(time->memory, translation.physical_address, 1, false);
    return code && *code == STI;
}

/* STI lets interrupts in after the next instruction (Intel SDM volume 2, STI). QEMU's emulation of SVM forgets that if
 * the host interrupts the guest between the two, and the window opens there: in some runs, not in others. So a window
 * after STI does not count: the guest executes an instruction, and the window is after that. An instruction that ends
 * with the same byte delays a window too, in all runs. */
bool virtual_counts(const struct virtual_time *time, struct guest_debug *debug, int fd, struct kvm_run *run)
{
    bool stepped = debug->after_sti && guest_debug_stepped(run);

    if (stepped || run->exit_reason == KVM_EXIT_IRQ_WINDOW_OPEN) {
        if ((!stepped || run->ready_for_interrupt_injection) && time->memory && is_after_sti(time, fd) &&
            (debug->after_sti || step(debug, fd, true))) {
            run->request_interrupt_window = 0;
            return false;
        }
    }
    if (!debug->after_sti)
        return true;
    step(debug, fd, false);
    if (!stepped)
        return true; /* the instruction has made an exit */
    run->request_interrupt_window = 1;
    if (!run->ready_for_interrupt_injection)
        return false; /* it was CLI */
    run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
    return true;
}

bool virtual_reads_tsc(const struct virtual_time *time, const struct kvm_run *run)
{
    return time->tsc_step && run->exit_reason == KVM_EXIT_IO && run->io.port == time->tsc_port &&
           run->io.direction == KVM_EXIT_IO_IN && run->io.size == 1 && run->io.count == 1;
}

/* Xorshift (Marsaglia 2003). Steps that are all alike are no entropy to Linux: it would read on without an end. */
uint64_t virtual_tsc_step(uint64_t *state, uint64_t step)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return step - step / 2 + x % step;
}

/* IN has yet to write AL, from the byte in kvm_run: it is the TSC's lowest one too. */
bool virtual_load_tsc(uint64_t tsc, int fd)
{
    struct kvm_regs regs;

    if (ioctl(fd, KVM_GET_REGS, &regs) < 0)
        return false;
    regs.rax = (uint32_t)tsc;
    regs.rdx = tsc >> 32;
    return ioctl(fd, KVM_SET_REGS, &regs) == 0;
}

void virtual_exit(struct virtual_time *time, const struct kvm_run *run)
{
    bool tsc = virtual_reads_tsc(time, run);

    STORE(time->now, time->now + (tsc ? virtual_tsc_step(&time->tsc_state, time->tsc_step) : time->step));
    time->exits++;
    time->open = 1;
    time->halted = run->exit_reason == KVM_EXIT_HLT;
    time->ticked = time->taken = time->looked = time->fruitless = time->waited = 0;
}

enum virtual_next virtual_next(struct virtual_time *time, struct kvm_run *run)
{
    if (!time->open)
        return VIRTUAL_ENTER; /* KVM_RUN was interrupted: nothing has changed for the guest */
    if (!time->looked) { /* once, so that a replay knows what of an exit came before it */
        time->looked = 1;
        if (LOAD(time->asked)) {
            time->ticked = 1; /* input comes with the ticks: what Python is asked for otherwise must cause no others */
            return VIRTUAL_DUE;
        }
    }
    if (!time->ticked && LOAD(time->deadline) <= time->now) {
        time->ticked = 1;
        return VIRTUAL_DUE;
    }
    if (time->pending && !time->taken && run->ready_for_interrupt_injection) {
        time->taken = 1;
        return VIRTUAL_INTERRUPT;
    }
    if (time->halted && !time->taken && !(time->pending && run->if_flag)) {
        if (!run->if_flag || LOAD(time->deadline) == VIRTUAL_NEVER || time->fruitless >= time->patience) {
            time->looked = 0;
            time->waited = 1;
            return LOAD(time->asked) || (run->if_flag && LOAD(time->listens)) ? VIRTUAL_WAIT : VIRTUAL_HALT;
        }
        if (time->deadline > time->now) {
            STORE(time->now, time->deadline);
            time->looked = 0;
        }
        time->ticked = 0;
        time->fruitless++;
        return VIRTUAL_JUMPED;
    }
    if (time->examine == time->exits)
        return VIRTUAL_EXAMINE;
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

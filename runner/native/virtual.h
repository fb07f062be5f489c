/* Virtual time: a function of the exits that the guest causes, of nothing else. Each takes a step; a halted guest's
 * time jumps to the next deadline. Interrupts enter the guest only between such an exit and the next entry, or when the
 * interrupt window opens, which is such an exit too. */
#ifndef VMRUN_VIRTUAL_H
#define VMRUN_VIRTUAL_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "debug.h"
#include "memory.h"

#define VIRTUAL_NEVER UINT64_MAX

struct virtual_time {
    uint64_t now, step; /* ns */
    uint64_t deadline;  /* ns: when a device's timer is due, VIRTUAL_NEVER: none runs */
    uint32_t pending;   /* the output of the interrupt controller */
    uint32_t open;      /* the exit at hand has not had all its consequences */
    uint32_t halted;    /* it is a HLT */
    uint32_t ticked;    /* Python has looked at the timers since the time moved */
    uint32_t taken;     /* an interrupt has been chosen for the next entry */
    uint16_t vector;    /* Python: the newest that was */
    uint32_t asked;     /* Python has input for the guest */
    uint32_t looked;    /* that was looked at, since the exit or since the time of a halted guest moved */
    uint32_t listens;   /* input may come: a halted guest waits for it where nothing else can wake it */
    uint32_t waited;    /* it has waited so since its time moved: Python lets a step pass with what comes */
    uint32_t fruitless; /* deadlines that have not woken the halted guest */
    uint32_t patience;  /* so many of them: it has masked what it waits for */
    uint32_t tsc_port;  /* of the device that stands for the TSC */
    uint64_t tsc_step;  /* ns: what a read of it takes on average; 0: there is none */
    uint64_t tsc_state; /* from which the next such step follows; not 0 */
    uint64_t exits;     /* of the guest's */
    uint64_t examine;   /* after so many, Python looks at the guest's state; 0: never */
    uint32_t replayed;  /* Python compares each exit with a recording, and answers from it; no time passes */
    const struct memory *memory; /* the guest's; NULL: believe each window */
};

enum virtual_next {
    VIRTUAL_ENTER,     /* enter the guest */
    VIRTUAL_DUE,       /* a timer is due, or input has come: Python must give it to devices and tick them */
    VIRTUAL_INTERRUPT, /* the guest takes an interrupt: Python must ask the controller which */
    VIRTUAL_JUMPED,    /* the guest is halted, and its time has moved to the next deadline: look again */
    VIRTUAL_WAIT,      /* only input can wake the guest: wait for it, and look again */
    VIRTUAL_EXAMINE,   /* Python must look at the guest's state, and say when to do so again */
    VIRTUAL_HALT,      /* nothing can wake the guest */
};

/* The guest has made an exit. */
void virtual_exit(struct virtual_time *time, const struct kvm_run *run);
/* Whether what KVM_RUN has returned is an exit of the guest. */
bool virtual_counts(const struct virtual_time *time, struct guest_debug *debug, int fd, struct kvm_run *run);
/* What comes next after an exit. */
enum virtual_next virtual_next(struct virtual_time *time, struct kvm_run *run);
/* Whether the exit is a read of the device that stands for the TSC: IN AL, port. */
bool virtual_reads_tsc(const struct virtual_time *time, const struct kvm_run *run);
/* The next step of reads that take `step` on average: half to one and a half of it, by a generator with this state. */
uint64_t virtual_tsc_step(uint64_t *state, uint64_t step);
/* Answer such a read as RDTSC does: EDX:EAX is the TSC. False: see errno. */
bool virtual_load_tsc(uint64_t tsc, int fd);
/* Answer an access of an MSR that the filter denies. */
void virtual_msr(const struct virtual_time *time, struct kvm_run *run);

#endif

/* Where a machine's vCPU threads stand still: before they enter the guest, and while the machine is paused. They wait
 * in C: to leave a gate in Python each would need the interpreter, whose holder gets no processor while the vCPUs that
 * have left keep them all busy. */
#ifndef VMRUN_GATE_H
#define VMRUN_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct gate {
    uint32_t turn; /* odd: closed. Each closing and opening adds one, so a thread that is leaving an earlier turn is
                    * not taken to stand at this one. */
};

/* Each thread has a word `standing`: the turn at which it stands still, 0 if it does not, or GATE_LEFT. */
#define GATE_LEFT UINT32_MAX /* it has ended: it stands still for good */

void gate_close(struct gate *gate);
void gate_open(struct gate *gate);
/* A gate may be NULL here: always open. */
bool gate_is_closed(const struct gate *gate);
/* Stand still until the gate opens. It may be closed again by the time that this returns. */
void gate_stand(struct gate *gate, uint32_t *standing);
/* The thread's last act. */
void gate_leave(uint32_t *standing);
/* Whether the thread stands still at the closed gate, or has ended; waits a tenth of a second for that. */
bool gate_stands(const struct gate *gate, uint32_t *standing);

#endif

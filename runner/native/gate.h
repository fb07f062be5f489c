/* The gate at which a machine's vCPU threads wait before they enter the guest, and while the machine is paused. It is
 * in C because each thread would need the interpreter lock to leave a gate in Python. The lock's holder gets no
 * processor while the vCPUs that have left the gate keep all of them busy. */
#ifndef VMRUN_GATE_H
#define VMRUN_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct gate {
    uint32_t turn; /* odd: closed. Each closing and opening adds one, so a thread that is still leaving an earlier
                    * turn does not count as waiting at this one. */
};

/* Each thread has a word `standing`: the turn at which it waits, 0 if it does not wait, or one of these. */
#define GATE_LEFT UINT32_MAX       /* the thread has ended */
#define GATE_HELD (UINT32_MAX - 1) /* it is held: it waits at every gate */

void gate_close(struct gate *gate);
void gate_open(struct gate *gate);
/* A gate may be NULL here: always open. */
bool gate_is_closed(const struct gate *gate);
/* Wait until the gate opens. It may be closed again when this returns. */
void gate_stand(struct gate *gate, uint32_t *standing);
/* Wait while `held` is not 0. Whoever sets it to 0 with gate_release keeps the gate closed meanwhile. */
void gate_hold(uint32_t *held, uint32_t *standing);
void gate_release(uint32_t *held);
/* The thread's last act. */
void gate_leave(uint32_t *standing);
/* Whether the thread waits at the closed gate, is held, or has ended; waits up to a tenth of a second for that. */
bool gate_stands(const struct gate *gate, uint32_t *standing);

#endif

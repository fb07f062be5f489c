/* Fuzzes a device in C: a hostile driver of all its queues. A device's file defines what is below. */
#ifndef VMRUN_FUZZ_DEVICE_H
#define VMRUN_FUZZ_DEVICE_H

#include "guest.h"
#include "worker.h"

#include <sys/eventfd.h>
#include <unistd.h>

/* Set device, state, n_queues and what else the device's class in Python sets, for an input; and undo it. `options` come
 * from the input. */
static void device_open(struct worker *worker, uint8_t options);
static void device_close(struct worker *worker);
/* Something comes from outside: bytes of a peer. */
static void device_outside(struct worker *worker, struct guest *guest);

static void serve(struct worker *worker, uint64_t told)
{
    for (uint32_t i = 0; i < worker->n_fds; i++)
        worker->fds[i].revents = 0;
    if (worker->n_fds)
        poll(worker->fds, worker->n_fds, 0);
    told |= worker->again;
    worker->again = 0;
    worker->device->serve(worker, told);
}

int LLVMFuzzerTestOneInput(const uint8_t *program, size_t size)
{
    static struct worker worker;
    static struct virtqueue queues[8];
    static struct requests unrecorded;
    static int event = -1;
    struct guest guest;

    if (event < 0)
        event = eventfd(0, EFD_NONBLOCK);
    memset(&worker, 0, sizeof worker);
    memset(queues, 0, sizeof queues);
    guest_open(&guest, program, size);
    worker.bell.event = worker.trouble = event;
    worker.timeout = -1;
    worker.requests = &unrecorded;
    for (uint32_t i = 0; i < 8; i++) {
        worker.queues[i] = &queues[i];
        worker.interrupts[i].event = event;
    }
    device_open(&worker, (uint8_t)guest_next(&guest, 1));
    for (uint32_t i = 0; i < worker.n_queues; i++)
        guest_start(&guest, i, &queues[i], false);
    for (uint32_t i = 0; i < STEPS && guest.left; i++) {
        uint8_t step = (uint8_t)guest_next(&guest, 1);
        uint32_t number = (step >> 6 | (step & 8) >> 1) % worker.n_queues;
        switch (step % 8) {
        case 4:
        case 5:
            serve(&worker, UINT64_C(1) << number);
            break;
        case 6:
            device_outside(&worker, &guest);
            serve(&worker, 0);
            break;
        case 7: /* a reset of the queue, in a rest as Python has it */
            if (worker.device->rest)
                worker.device->rest(&worker);
            guest_start(&guest, number, &queues[number], step & 32);
            break;
        default:
            guest_step(&guest, number, step);
        }
    }
    if (worker.device->rest)
        worker.device->rest(&worker);
    device_close(&worker);
    return 0;
}

#endif

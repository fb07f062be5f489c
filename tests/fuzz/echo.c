/* Fuzzes what all workers share, by the device for tests. */
#include "device.h"

static void device_open(struct worker *worker, uint8_t options)
{
    worker->device = &worker_echo;
    worker->n_queues = 1 + options % 2;
}

static void device_close(struct worker *worker)
{
}

static void device_outside(struct worker *worker, struct guest *guest)
{
}

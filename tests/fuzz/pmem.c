/* Fuzzes virtio-pmem's requests: a response is one of the two that there are, and a whole request's. */
#include "device.h"

#include "pmem.h"

static void device_open(struct worker *worker, uint8_t options)
{
    worker->device = &pmem_device;
    worker->n_queues = 1;
}

static void device_close(struct worker *worker)
{
}

/* A driver that does as it should: a request, and room for its response. */
static void device_outside(struct worker *worker, struct guest *guest)
{
    enum { REQUEST_AT = 0x3000, RESPONSE_AT = 0x3100, UNTOUCHED = 0x5a5a5a5a };
    struct vring_desc chain[2] = {{.addr = REQUEST_AT, .len = 4, .flags = VRING_DESC_F_NEXT, .next = 1},
                                  {.addr = RESPONSE_AT, .len = 4, .flags = VRING_DESC_F_WRITE}};
    uint32_t request = (uint32_t)guest_next(guest, 4), response = UNTOUCHED;

    guest_start(guest, 0, worker->queues[0], false);
    guest_write(guest, REQUEST_AT, &request, sizeof request);
    guest_write(guest, RESPONSE_AT, &response, sizeof response);
    guest_write(guest, guest_descriptors(0), chain, sizeof chain);
    guest_offer(guest, 0, 0);
    serve(worker, 1);
    memcpy(&response, memory_at(&guest->memory, RESPONSE_AT, sizeof response, false), sizeof response);
    if (worker->queues[0]->size >= 2 && !worker->queues[0]->fault && response != (request != 0))
        abort();
}

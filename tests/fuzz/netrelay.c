/* Fuzzes virtio-net of a machine with virtual time: nothing leaves it but frames, and one that was given waits as it is
 * until the driver gets it. */
#include "device.h"

#include "netrelay.h"

#include <linux/virtio_net.h>
#include <sys/socket.h>

static struct net *net;
static int ends[2];
static uint8_t frame[2 * NET_FRAME];

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void begin(uint8_t options)
{
    uint64_t features = UINT64_C(1) << VIRTIO_F_VERSION_1;

    features |= options & 4 ? 1 << VIRTIO_NET_F_MRG_RXBUF : 0;
    features |= options & 8 ? 1 << VIRTIO_NET_F_CTRL_VQ : 0;
    features |= options & 16 ? 1 << VIRTIO_NET_F_CSUM | 1 << VIRTIO_NET_F_GUEST_CSUM : 0;
    features |= options & 32 ? 1 << VIRTIO_NET_F_HOST_TSO4 | 1 << VIRTIO_NET_F_GUEST_TSO4 : 0;
    net_begin(net, features);
}

static void device_open(struct worker *worker, uint8_t options)
{
    int room = 1; /* as little as there can be, so that it is full sometimes */

    net = net_new(1, &net_relay);
    check(net && !socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends));
    check(!setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room));
    net_attach(net, 0, options & 1 ? ends[0] : -1);
    begin(options);
    worker->device = &worker_net;
    worker->state = net;
    worker->n_queues = 3;
    worker->alone = true;
}

static void device_close(struct worker *worker)
{
    close(ends[0]);
    close(ends[1]);
    free(net);
}

static void receive(void)
{
    ssize_t size = recv(ends[1], frame, sizeof frame, 0);

    check(size < 0 || (size >= NET_HEADER + NET_ETHERNET && size <= NET_FRAME));
}

static void give(struct guest *guest, uint8_t how)
{
    uint32_t room = net_relay_room(net), size = (uint32_t)guest_next(guest, how & 16 ? 3 : 1) % sizeof frame, waiting;
    uint64_t head = guest_next(guest, how & 8 ? 8 : 0);
    const uint8_t *kept;

    memcpy(frame, &head, sizeof head);
    check(!room || room == NET_FRAME);
    check(net_relay_give(net, frame, size) == (size && size <= room));
    kept = net_relay_waiting(net, &waiting);
    check(!room || !size || size > room || (waiting == size && !memcmp(kept, frame, size)));
}

static void device_outside(struct worker *worker, struct guest *guest)
{
    uint8_t how = (uint8_t)guest_next(guest, 1);

    switch (how % 8) {
    case 0: /* the driver is another one */
        net_reset(net);
        for (uint32_t queue = 0; queue < worker->n_queues; queue++)
            virtqueue_stop(worker->queues[queue]);
        check(!net_relay_room(net));
        begin((uint8_t)guest_next(guest, 1));
        return;
    case 1:
        receive();
        return;
    case 2: /* as VirtualPath does before the queues are served, and once the time has come */
    case 3:
        for (uint32_t queue = 0; queue < worker->n_queues; queue++)
            (how & 1 ? virtqueue_publish : virtqueue_gather)(worker->queues[queue]);
        return;
    default:
        give(guest, how);
    }
}

#include "net.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int tap_send(struct net *net, uint32_t pair, const struct iovec *ranges, uint32_t n)
{
    return writev(net->pair[pair].fd, ranges, (int)n) < 0 ? errno : 0;
}

static uint32_t tap_receive(struct net *net, uint32_t pair, uint8_t *frame)
{
    ssize_t size = read(net->pair[pair].fd, frame, NET_FRAME);

    if (!size) { /* a socket whose other side is gone */
        net->pair[pair].fd = -1;
        net->up = false;
    }
    return size > 0 ? (uint32_t)size : 0;
}

static uint64_t tap_polled(struct net *net, struct worker *worker)
{
    uint64_t told = 0;

    for (uint32_t i = 0; i < worker->n_fds; i++) {
        struct net_pair *the = &net->pair[i];
        short found = worker->fds[i].revents;
        bool gone = found & (POLLERR | POLLHUP | POLLNVAL) && !(found & (POLLIN | POLLOUT));
        if (gone) { /* the interface was deleted: poll(2) would not wait any more */
            the->fd = -1;
            net->up = false;
        }
        if (found & POLLIN)
            the->ready = true;
        if (the->full && (gone || found & POLLOUT)) {
            the->full = false;
            told |= UINT64_C(1) << (2 * i + 1);
        }
    }
    return told;
}

static void tap_poll(struct net *net, struct worker *worker)
{
    worker->n_fds = net->pairs;
    for (uint32_t i = 0; i < net->pairs; i++) {
        const struct net_pair *the = &net->pair[i];
        short events = (the->buffers && !the->size && !the->ready ? POLLIN : 0) | (the->full ? POLLOUT : 0);
        worker->fds[i] = (struct pollfd){.fd = the->fd, .events = events};
    }
}

/* Let the kernel spread frames over the queues in use alone. A socket knows nothing of it. */
static void tap_use(struct net *net, uint32_t pairs)
{
    for (uint32_t i = 0; net->n_pairs > 1 && i < net->n_pairs; i++) {
        struct ifreq request = {.ifr_flags = i < pairs ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};
        ioctl(net->pair[i].fd, TUNSETQUEUE, &request); /* EINVAL: it is so already */
    }
}

struct net_backend net_tap = {
    .send = tap_send,
    .receive = tap_receive,
    .polled = tap_polled,
    .poll = tap_poll,
    .use = tap_use,
};

#include "netrelay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BATCH = 64, /* frames of a direction until the other has its turn */
    ENDING = 1000, /* ms for what is on the way, once the device has ended */
};

struct relay {
    struct worker worker;
    struct net *backend;
    int fd;
    uint32_t size; /* of the device's frame that waits for room in the backend, 0: none does */
    uint8_t frame[NET_FRAME];
};

/* The device's side, in the vCPU's thread. */

static int relay_send(struct net *net, uint32_t pair, const struct iovec *ranges, uint32_t n)
{
    struct msghdr message = {.msg_iov = (struct iovec *)ranges, .msg_iovlen = n};

    if (net->pair[0].fd < 0 || sendmsg(net->pair[0].fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return 0;
    return ENOBUFS; /* it is lost: the driver does not wait for the host */
}

static uint32_t relay_receive(struct net *net, uint32_t pair, uint8_t *frame)
{
    uint32_t size = net->given; /* the frame is there already */

    net->given = 0;
    return size;
}

static uint64_t relay_polled(struct net *net, struct worker *worker)
{
    return 0;
}

static void relay_poll(struct net *net, struct worker *worker)
{
}

static uint64_t relay_forget(struct net *net)
{
    uint64_t frames = net->given > 0;

    net->given = 0;
    return frames;
}

struct net_backend net_relay = {
    .whole = true,
    .send = relay_send,
    .receive = relay_receive,
    .polled = relay_polled,
    .poll = relay_poll,
    .forget = relay_forget,
};

uint32_t net_relay_room(const struct net *net)
{
    return net->features && !net->given && !net->pair[0].size ? NET_FRAME : 0;
}

bool net_relay_give(struct net *net, const void *frame, uint32_t size)
{
    if (!size || size > net_relay_room(net)) {
        net->counts.crowded++;
        return false;
    }
    memcpy(net->pair[0].frame, frame, size);
    net->given = size;
    net->pair[0].ready = true;
    return true;
}

const uint8_t *net_relay_waiting(const struct net *net, uint32_t *size)
{
    *size = net->given ? net->given : net->pair[0].size;
    return *size ? net->pair[0].frame : NULL;
}

/* The backend's side, in the relay's thread. */

static void to_backend(struct relay *relay, uint32_t frames)
{
    struct net *net = relay->backend;
    uint8_t *frame = relay->frame;

    while (frames-- && !net->pair[0].full) {
        struct iovec ranges[] = {{frame, NET_HEADER}, {frame + NET_HEADER, 0}};
        int error;
        if (!relay->size) {
            ssize_t size = recv(relay->fd, frame, sizeof relay->frame, MSG_DONTWAIT);
            if (size < NET_HEADER)
                break;
            relay->size = (uint32_t)size;
        }
        ranges[1].iov_len = relay->size - NET_HEADER;
        error = net->backend->send(net, 0, ranges, 2);
        net->pair[0].full = error == EAGAIN;
        if (net->pair[0].full)
            break;
        if (!error && net->capture)
            capture_frame(net->capture, frame + NET_HEADER, relay->size - NET_HEADER, false);
        *(error ? &net->counts.refused : &net->counts.sent) += 1;
        relay->size = 0;
    }
}

static void to_device(struct relay *relay)
{
    struct net *net = relay->backend;
    struct net_pair *the = &net->pair[0];

    for (uint32_t n = 0; n < BATCH; n++) {
        if (!the->size) {
            the->size = the->ready ? net->backend->receive(net, 0, the->frame) : 0;
            the->ready = the->size;
            if (!the->size)
                break;
            if (net->capture && the->size > NET_HEADER)
                capture_frame(net->capture, the->frame + NET_HEADER, the->size - NET_HEADER, true);
        }
        if (send(relay->fd, the->frame, the->size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)
                break; /* it waits here, and those after it in the backend */
            net->counts.crowded++;
        }
        the->size = 0;
    }
}

/* Ask for what is to be polled: the backend's, and then the relay's own. */
static void ask(struct worker *worker)
{
    struct relay *relay = worker->state;
    struct net *net = relay->backend;
    struct net_pair *the = &net->pair[0];
    short events = (short)((the->full ? 0 : POLLIN) | (the->size ? POLLOUT : 0));

    the->buffers = !the->size;
    worker->n_fds = 0;
    net->backend->poll(net, worker);
    worker->fds[worker->n_fds++] = (struct pollfd){.fd = relay->fd, .events = events};
}

static void serve(struct worker *worker, uint64_t told)
{
    struct relay *relay = worker->state;
    struct net *net = relay->backend;
    uint32_t failed = net->capture ? net->capture->error : 0;

    if (worker->n_fds) /* without the relay's own */
        worker->n_fds--;
    net->backend->polled(net, worker);
    to_backend(relay, BATCH);
    to_device(relay);
    ask(worker);
    if (net->pair[0].ready && !net->pair[0].size)
        worker->again |= 1;
    if (net->capture) {
        capture_flush(net->capture);
        if (net->capture->error != failed)
            worker_trouble(worker);
    }
}

static void rest(struct worker *worker)
{
    struct relay *relay = worker->state;
    struct net *net = relay->backend;

    to_backend(relay, UINT32_MAX);
    if (net->capture)
        capture_flush(net->capture);
    ask(worker);
}

static const struct worker_device worker_relay = {.serve = serve, .rest = rest};

int net_relay_open(struct net *net, struct net *backend, int fd, int trouble)
{
    struct relay *relay = calloc(1, sizeof *relay);
    struct worker *worker;
    int error;

    if (!relay)
        return ENOMEM;
    worker = &relay->worker;
    relay->backend = backend;
    relay->fd = fd;
    worker->device = &worker_relay;
    worker->state = relay;
    worker->timeout = -1;
    worker->trouble = trouble;
    worker->again = 1; /* ask the backend what to poll */
    worker->bell.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    error = worker->bell.event < 0 ? errno : worker_start(worker);
    if (error) {
        if (worker->bell.event >= 0)
            close(worker->bell.event);
        free(relay);
        return error;
    }
    net->link = relay;
    worker_release(worker);
    return 0;
}

void net_relay_settle(struct net *net)
{
    struct relay *relay = net->link;

    if (!relay)
        return;
    worker_hold(&relay->worker);
    worker_release(&relay->worker);
}

void net_relay_close(struct net *net)
{
    struct relay *relay = net->link;

    if (!relay)
        return;
    net->link = NULL;
    worker_end(&relay->worker, ENDING);
    close(relay->worker.bell.event);
    free(relay);
}

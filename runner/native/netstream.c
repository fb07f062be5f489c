#define _GNU_SOURCE /* accept4 */
#include "netstream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PREFIX = 4, LONGEST = NET_FRAME - NET_HEADER };

struct stream {
    int listening; /* -1: the peer that has gone was the only one */
    bool ending; /* the peer takes nothing any more; what it has sent is still read */
    uint32_t first, end; /* of what was read and is not taken */
    uint32_t left, size; /* of the frame that is being written */
    uint8_t in[2 * (PREFIX + LONGEST)], out[PREFIX + LONGEST];
};

int net_stream_open(struct net *net, int fd, bool listening)
{
    struct stream *stream = calloc(1, sizeof *stream);

    if (!stream)
        return ENOMEM;
    stream->listening = listening ? fd : -1;
    net->link = stream;
    net->pair[0].fd = listening ? -1 : fd;
    net->up = !listening;
    return 0;
}

static void hang_up(struct net *net)
{
    struct stream *stream = net->link;

    close(net->pair[0].fd);
    net->pair[0].fd = -1;
    net->pair[0].ready = false;
    stream->first = stream->end = stream->left = 0;
    stream->ending = net->up = false;
}

static void peer_left(struct net *net)
{
    struct stream *stream = net->link;

    stream->left = 0;
    stream->ending = net->pair[0].ready = true;
    net->up = false;
}

void net_stream_close(struct net *net)
{
    struct stream *stream = net->link;

    if (!stream)
        return;
    if (net->pair[0].fd >= 0)
        hang_up(net);
    if (stream->listening >= 0)
        close(stream->listening);
    net->link = NULL;
    free(stream);
}

/* Write what is left of a frame; false: there is no room yet, or the peer takes nothing any more. */
static bool flush(struct net *net)
{
    struct stream *stream = net->link;

    while (stream->left) {
        ssize_t n = send(net->pair[0].fd, stream->out + stream->size - stream->left, stream->left, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN)
                peer_left(net);
            return false;
        }
        stream->left -= (uint32_t)n;
    }
    return true;
}

static int stream_send(struct net *net, uint32_t pair, const struct iovec *ranges, uint32_t n)
{
    struct stream *stream = net->link;
    uint32_t length, at = PREFIX;

    if (stream->left && !flush(net) && !stream->ending)
        return EAGAIN;
    if (net->pair[0].fd < 0 || stream->ending)
        return ENOTCONN;
    for (uint32_t i = 1; i < n; i++) {
        memcpy(stream->out + at, ranges[i].iov_base, ranges[i].iov_len);
        at += (uint32_t)ranges[i].iov_len;
    }
    length = htonl(at - PREFIX);
    memcpy(stream->out, &length, PREFIX);
    stream->size = stream->left = at;
    flush(net); /* what there is no room for follows: the frame is sent */
    return 0;
}

static uint32_t stream_receive(struct net *net, uint32_t pair, uint8_t *frame)
{
    struct stream *stream = net->link;

    while (net->pair[0].fd >= 0) {
        uint32_t have = stream->end - stream->first, length = 0;
        ssize_t n;
        if (have >= PREFIX) {
            memcpy(&length, stream->in + stream->first, PREFIX);
            length = ntohl(length);
            if (length > LONGEST) { /* where the next one begins is not known any more */
                net->counts.overlong++;
                hang_up(net);
                break;
            }
        }
        if (have >= PREFIX && have - PREFIX >= length) {
            memset(frame, 0, NET_HEADER);
            memcpy(frame + NET_HEADER, stream->in + stream->first + PREFIX, length);
            stream->first += PREFIX + length;
            return NET_HEADER + length;
        }
        memmove(stream->in, stream->in + stream->first, have);
        stream->first = 0;
        stream->end = have;
        n = read(net->pair[0].fd, stream->in + have, sizeof stream->in - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0)
            hang_up(net);
        else
            stream->end += (uint32_t)n;
    }
    return 0;
}

static uint64_t stream_polled(struct net *net, struct worker *worker)
{
    struct stream *stream = net->link;
    struct net_pair *the = &net->pair[0];
    short found = worker->n_fds ? worker->fds[0].revents : 0;
    uint64_t told = 0;

    if (the->fd < 0 && found & POLLIN) {
        the->fd = accept4(stream->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        net->up = the->fd >= 0;
    } else if (the->fd >= 0) {
        if (found & POLLIN)
            the->ready = true;
        if (found & (POLLHUP | POLLERR))
            peer_left(net);
        if (stream->left && found & POLLOUT)
            flush(net);
    }
    if (the->full && !stream->left) {
        the->full = false;
        told = 2;
    }
    return told;
}

static void stream_poll(struct net *net, struct worker *worker)
{
    const struct stream *stream = net->link;
    const struct net_pair *the = &net->pair[0];
    short events = (the->buffers && !the->size && !the->ready ? POLLIN : 0) | (stream->left ? POLLOUT : 0);

    if (the->fd >= 0) /* what a peer has left is there at once; but then poll(2) would not wait for buffers any more */
        worker->fds[0] = (struct pollfd){.fd = stream->ending && !events ? -1 : the->fd, .events = events};
    else
        worker->fds[0] = (struct pollfd){.fd = stream->listening, .events = POLLIN};
    worker->n_fds = 1;
    if (the->full && !stream->left)
        worker->again |= 2; /* the peer has left: what waits for room is refused */
}

struct net_backend net_stream = {
    .send = stream_send,
    .receive = stream_receive,
    .polled = stream_polled,
    .poll = stream_poll,
};

#define _GNU_SOURCE /* accept4 */
#include "vsocksocket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    FIRST_PORT = 1 << 30, /* of the host's connections */
    GREETING = 32, /* bytes of "CONNECT <port>\n" at most */
    CALLERS = 64, /* that are let in before connections have their turn */
    RETRY = 100, /* ms until the host may have descriptors again */
    UPDATE = VSOCK_BUFFER / 2, /* bytes passed on after which the driver gets credit */
};

/* From the guest to the host's socket */

/* The part of ranges that begins at byte `at` and has `size` bytes; returns the number of its ranges. */
static uint32_t part(const struct iovec *ranges, uint32_t n, uint32_t at, uint32_t size, struct iovec *found)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < n && size; i++) {
        uint32_t length = (uint32_t)ranges[i].iov_len;
        if (at >= length) {
            at -= length;
            continue;
        }
        length = length - at < size ? length - at : size;
        found[count++] = (struct iovec){(uint8_t *)ranges[i].iov_base + at, length};
        size -= length;
        at = 0;
    }
    return count;
}

/* Try to send; returns the bytes that the socket took. It takes none any more once the host has closed it. */
static uint32_t push(struct vsock_connection *connection, struct iovec *ranges, uint32_t n)
{
    struct msghdr message = {.msg_iov = ranges, .msg_iovlen = n};
    ssize_t sent;

    if (!connection->writable || !n)
        return 0;
    sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0)
        return (uint32_t)sent;
    if (errno == EAGAIN)
        connection->writable = false; /* there is an edge when it takes more */
    else
        vsock_close_host(connection, VIRTIO_VSOCK_SHUTDOWN_RCV);
    return 0;
}

/* Bytes have left for the socket, or nobody wants them any more. */
void vsock_settle(struct vsock_connection *connection)
{
    if (connection->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)
        connection->n = 0;
    connection->forwarded = connection->received - connection->n;
    if (connection->state != OPEN)
        return;
    if (connection->forwarded - connection->told >= UPDATE)
        connection->owed |= CREDIT;
    if (!connection->n && connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)
        shutdown(connection->fd, SHUT_WR);
}

static void drain(struct vsock_connection *connection)
{
    while (connection->n && connection->writable) {
        uint32_t first = VSOCK_BUFFER - connection->at;
        struct iovec ranges[2] = {{connection->buffer + connection->at, first}, {connection->buffer, 0}};
        uint32_t sent;
        if (first >= connection->n)
            ranges[0].iov_len = connection->n;
        else
            ranges[1].iov_len = connection->n - first;
        sent = push(connection, ranges, 2);
        connection->at = (connection->at + sent) % VSOCK_BUFFER;
        connection->n -= sent;
        vsock_settle(connection);
    }
}

/* Pass on what a packet has behind its header. False: it has more than the guest's credit. */
bool vsock_pass_on(struct vsock_connection *connection, const struct virtqueue_chain *chain, uint32_t size)
{
    struct iovec ranges[VIRTQUEUE_SIZE];
    uint32_t at = HEADER, end = HEADER + size;

    if (size > VSOCK_BUFFER - connection->n || connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)
        return false;
    connection->received += size;
    if (!connection->n)
        at += push(connection, ranges, part(chain->ranges, chain->n_readable, at, size, ranges));
    if (at < end && !connection->buffer && !(connection->buffer = malloc(VSOCK_BUFFER)))
        return false;
    while (at < end) {
        uint32_t to = (connection->at + connection->n) % VSOCK_BUFFER;
        uint32_t most = end - at < VSOCK_BUFFER - to ? end - at : VSOCK_BUFFER - to;
        chain_read(chain, at, connection->buffer + to, most);
        connection->n += most;
        at += most;
    }
    vsock_settle(connection);
    return true;
}

/* From the socket to the guest */

/* Read from the socket into a chain, behind the header. Returns the bytes; 0: see what is owed. */
uint32_t vsock_pull(struct vsock_connection *connection, const struct virtqueue_chain *chain)
{
    struct iovec ranges[VIRTQUEUE_SIZE];
    uint32_t size = chain->writable - HEADER, most = vsock_allowance(connection);
    struct msghdr message = {.msg_iov = ranges};
    ssize_t got;

    if (most > VSOCK_BUFFER)
        most = VSOCK_BUFFER;
    if (most > size)
        most = size;
    if (!most)
        return 0;
    message.msg_iovlen = part(chain->ranges + chain->n_readable, chain->n_writable, HEADER, most, ranges);
    got = recvmsg(connection->fd, &message, MSG_DONTWAIT);
    if (got > 0) {
        connection->readable = got == most || connection->ending; /* with less, it was all */
        return (uint32_t)got;
    }
    if (!got)
        vsock_close_host(connection, VIRTIO_VSOCK_SHUTDOWN_SEND);
    else if (errno == EAGAIN)
        connection->readable = false;
    else
        vsock_end(connection, true);
    return 0;
}

/* Connections */

/* The guest opens a connection. */
bool vsock_connect(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct vsock_connection *connection;

    snprintf(address.sun_path, sizeof address.sun_path, "%s_%u", vsock->path, header->dst_port);
    if (fd < 0)
        return false;
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        close(fd);
        return false;
    }
    if (!(connection = vsock_add(vsock, fd, OPEN)))
        return false;
    connection->guest_port = header->src_port;
    connection->host_port = header->dst_port;
    connection->owed = RESPONSE;
    if (!vsock_credit(connection, header))
        vsock_end(connection, true);
    return true;
}

/* The guest takes a connection of the host's. */
bool vsock_answer(struct vsock_connection *connection)
{
    char text[GREETING];
    int length = snprintf(text, sizeof text, "OK %u\n", connection->host_port);

    connection->state = OPEN;
    return send(connection->fd, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) == length;
}

/* The port that the host asks for: "CONNECT <port>\n". Returns the line's length, 0: it is not whole, -1: it is not
 * such a line. */
static int parse(const char *text, int length, uint32_t *port)
{
    static const char word[] = "CONNECT ";
    int begin = (int)sizeof word - 1;
    uint64_t value = 0;

    for (int i = 0; i < length; i++) {
        if (i < begin ? text[i] != word[i] : text[i] != '\n' && (text[i] < '0' || text[i] > '9'))
            return -1;
        if (i >= begin && text[i] == '\n') {
            *port = (uint32_t)value;
            return i > begin && value <= UINT32_MAX ? i + 1 : -1;
        }
        if (i >= begin)
            value = value * 10 + (uint64_t)(text[i] - '0');
        if (value > UINT32_MAX)
            return -1;
    }
    return length < GREETING ? 0 : -1;
}

static void greet(struct vsock *vsock, struct vsock_connection *connection)
{
    char text[GREETING];
    ssize_t got = recv(connection->fd, text, sizeof text, MSG_PEEK | MSG_DONTWAIT);
    uint32_t guest_port;
    int line;

    if (got < 0 && errno == EAGAIN) {
        connection->readable = false;
        return;
    }
    line = got > 0 ? parse(text, (int)got, &guest_port) : -1;
    if (!line)
        connection->readable = false; /* there is an edge when more comes */
    if (line > 0 && recv(connection->fd, text, (size_t)line, MSG_DONTWAIT) != line)
        line = -1;
    if (line < 0)
        vsock_end(connection, false);
    if (line <= 0)
        return;
    do
        vsock->port = vsock->port >= FIRST_PORT && vsock->port < UINT32_MAX - 1 ? vsock->port + 1 : FIRST_PORT;
    while (vsock_find(vsock, guest_port, vsock->port));
    connection->guest_port = guest_port;
    connection->host_port = vsock->port;
    connection->state = REQUESTED;
    connection->owed = REQUEST;
}

/* Let some callers in. */
static void welcome(struct vsock *vsock)
{
    vsock->retry = -1;
    for (uint32_t n = 0; vsock->waiting; n++) {
        if (n == CALLERS) {
            vsock->retry = 0; /* whoever calls without an end keeps the guest's connections waiting no longer */
            return;
        }
        int fd = accept4(vsock->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            vsock_add(vsock, fd, GREETED);
        else if (errno == EAGAIN)
            vsock->waiting = false;
        else if (errno != ECONNABORTED && errno != EINTR) {
            vsock->retry = RETRY; /* the host lacks descriptors or memory */
            return;
        }
    }
}

static void changed(struct vsock_connection *connection, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        connection->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        connection->writable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        connection->ending = true;
    if (!(events & (EPOLLHUP | EPOLLERR)))
        return;
    if (connection->state == REQUESTED) {
        vsock_end(connection, !(connection->owed & REQUEST));
    } else if (connection->state == OPEN) {
        /* The guest gets what the host has sent before, if it wants it. */
        vsock_close_host(connection,
                         connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV ? BOTH : VIRTIO_VSOCK_SHUTDOWN_RCV);
    }
}

void vsock_look(struct vsock *vsock)
{
    struct epoll_event events[64];
    int n;

    do {
        n = epoll_wait(vsock->events, events, 64, 0);
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr == vsock)
                vsock->waiting = true;
            else
                changed(events[i].data.ptr, events[i].events);
    } while (n == 64);
    welcome(vsock);
    for (uint32_t i = 0; i < vsock->n_connections; i++) {
        struct vsock_connection *connection = vsock->connections[i];
        if (connection->state == GREETED && connection->readable)
            greet(vsock, connection);
        drain(connection);
    }
}

#define _GNU_SOURCE /* accept4 */
#include "vsock.h"

#include "atomic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    HOST = 2, /* the host's CID (5.10.4) */
    HEADER = sizeof(struct virtio_vsock_hdr),
    BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND,
    FIRST_PORT = 1 << 30, /* of the host's connections */
    GREETING = 32, /* bytes of "CONNECT <port>\n" at most */
    MOST = 1 << 30, /* bytes on the way to a guest at once, whatever it says */
    UPDATE = VSOCK_BUFFER / 2, /* bytes passed on after which the driver is told of its credit */
    BATCH = 16, /* packets between two looks whether the driver wants an interrupt */
    RETRY = 100, /* ms until the host may have descriptors again */
};

enum state {
    GREETED, /* the host has not said yet which port it wants */
    REQUESTED, /* the guest has not answered yet */
    OPEN,
    ENDED, /* for the guest; its socket may still have to take what the guest has sent */
};

/* Packets that the driver is to get as soon as it has room. */
enum { RESET = 1, REQUEST = 2, RESPONSE = 4, SHUTDOWN = 8, CREDIT = 16 };

struct vsock_connection {
    int fd; /* -1: closed */
    enum state state;
    uint32_t guest_port, host_port;
    uint8_t owed;
    uint8_t guest_shut, host_shut; /* what each side does no more, by VIRTIO_VSOCK_SHUTDOWN_* */
    bool readable, writable; /* the socket, as far as is known */
    bool ending; /* behind what it has to read is its end */
    uint32_t peer_buffer, peer_forwarded, sent; /* bytes to the guest: its credit (5.10.6.3) */
    uint32_t received, forwarded, told; /* bytes from the guest: passed on to the socket, and what it knows of that */
    uint8_t *buffer; /* of VSOCK_BUFFER bytes, NULL: none was needed */
    uint32_t at, n; /* bytes that wait in it for the socket */
};

static bool watch(struct vsock *vsock, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = what};

    return !epoll_ctl(vsock->events, EPOLL_CTL_ADD, fd, &event);
}

/* A new connection with a socket, which is the connection's from now on. NULL: there can be none. */
static struct vsock_connection *add(struct vsock *vsock, int fd, enum state state)
{
    struct vsock_connection *connection = NULL;

    if (vsock->n_connections < VSOCK_CONNECTIONS)
        connection = calloc(1, sizeof *connection);
    if (!connection || !watch(vsock, fd, connection)) {
        free(connection);
        close(fd);
        return NULL;
    }
    connection->fd = fd;
    connection->state = state;
    connection->writable = true; /* whether it is readable, epoll tells */
    vsock->connections[vsock->n_connections++] = connection;
    return connection;
}

static void hang_up(struct vsock_connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    free(connection->buffer);
    connection->buffer = NULL;
    connection->n = 0;
}

/* End it for both sides, and let the guest know, or not. */
static void end(struct vsock_connection *connection, bool tell)
{
    connection->state = ENDED;
    connection->owed = tell ? RESET : 0;
    hang_up(connection);
}

/* The guest's connection between two ports, NULL: none. One that ended is there until the guest knows. */
static struct vsock_connection *find(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
    for (uint32_t i = 0; i < vsock->n_connections; i++) {
        struct vsock_connection *connection = vsock->connections[i];
        if (connection->guest_port == guest_port && connection->host_port == host_port &&
            connection->state != GREETED && (connection->state != ENDED || connection->owed))
            return connection;
    }
    return NULL;
}

/* Free the connections that are done. */
static void sweep(struct vsock *vsock)
{
    for (uint32_t i = vsock->n_connections; i-- > 0;) {
        struct vsock_connection *connection = vsock->connections[i];
        if (connection->state == ENDED && !connection->n)
            hang_up(connection);
        if (connection->state != ENDED || connection->owed || connection->fd >= 0)
            continue;
        free(connection);
        vsock->connections[i] = vsock->connections[--vsock->n_connections];
    }
}

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

/* The host receives or sends no more. */
static void close_host(struct vsock_connection *connection, uint8_t flags)
{
    if (connection->state == OPEN && flags & ~connection->host_shut)
        connection->owed |= SHUTDOWN;
    connection->host_shut |= flags;
}

/* From the guest to the host's socket */

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
        close_host(connection, VIRTIO_VSOCK_SHUTDOWN_RCV);
    return 0;
}

/* Bytes have left for the socket, or nobody wants them any more. */
static void settle(struct vsock_connection *connection)
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
        settle(connection);
    }
}

/* Pass on what a packet has behind its header. False: it has more than the guest's credit. */
static bool pass_on(struct vsock_connection *connection, const struct virtqueue_chain *chain, uint32_t size)
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
    settle(connection);
    return true;
}

/* What the guest says of its buffer. False: it has passed on more than it got. */
static bool credit(struct vsock_connection *connection, const struct virtio_vsock_hdr *header)
{
    if ((int32_t)(connection->sent - header->fwd_cnt) < 0)
        return false;
    connection->peer_buffer = header->buf_alloc < MOST ? header->buf_alloc : MOST;
    connection->peer_forwarded = header->fwd_cnt;
    return true;
}

/* The guest opens a connection. */
static bool connect_host(struct vsock *vsock, const struct virtio_vsock_hdr *header)
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
    if (!(connection = add(vsock, fd, OPEN)))
        return false;
    connection->guest_port = header->src_port;
    connection->host_port = header->dst_port;
    connection->owed = RESPONSE;
    if (!credit(connection, header))
        end(connection, true);
    return true;
}

/* The guest takes a connection of the host's. */
static bool answer_host(struct vsock_connection *connection)
{
    char text[GREETING];
    int length = snprintf(text, sizeof text, "OK %u\n", connection->host_port);

    connection->state = OPEN;
    return send(connection->fd, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) == length;
}

static bool shut(struct vsock_connection *connection, uint32_t flags)
{
    connection->guest_shut |= flags & BOTH;
    if (connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)
        shutdown(connection->fd, SHUT_RD);
    settle(connection);
    if (connection->guest_shut == BOTH) { /* the socket keeps what it has not taken yet */
        connection->state = ENDED;
        connection->owed = RESET;
    }
    return true;
}

/* Do what a packet says; false: it is no packet of this connection, or of none. */
static bool obey(struct vsock *vsock, struct vsock_connection *connection, const struct virtio_vsock_hdr *header,
                 const struct virtqueue_chain *chain)
{
    if (header->type != VIRTIO_VSOCK_TYPE_STREAM || header->len > chain->readable - HEADER)
        return false;
    if (header->op == VIRTIO_VSOCK_OP_REQUEST)
        return !connection && connect_host(vsock, header);
    if (!connection || !credit(connection, header))
        return false;
    if (header->op == VIRTIO_VSOCK_OP_RESPONSE)
        return connection->state == REQUESTED && !(connection->owed & REQUEST) && answer_host(connection);
    if (connection->state != OPEN || connection->owed & RESPONSE)
        return false;
    switch (header->op) {
    case VIRTIO_VSOCK_OP_RW:
        return pass_on(connection, chain, header->len);
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        return shut(connection, header->flags);
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        connection->owed |= CREDIT;
        return true;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        return true;
    }
    return false;
}

/* A packet from the guest. What is wrong is answered by a reset, but for resets, and what is of another guest. */
static void packet(struct vsock *vsock, struct virtqueue_chain *chain)
{
    struct virtio_vsock_hdr header;
    struct vsock_connection *connection = NULL;

    chain->status = 1;
    if (chain_read(chain, 0, &header, HEADER) < HEADER || header.src_cid != vsock->cid)
        return;
    if (header.dst_cid == HOST)
        connection = find(vsock, header.src_port, header.dst_port);
    if (header.op == VIRTIO_VSOCK_OP_RST) {
        chain->status = !connection;
        if (connection)
            end(connection, false);
    } else if (connection && connection->state == ENDED) {
        return; /* its reset is on the way */
    } else if (header.dst_cid == HOST && obey(vsock, connection, &header, chain)) {
        chain->status = 0;
    } else if (connection) {
        end(connection, true);
    } else {
        vsock->resets[vsock->n_resets++] = header;
    }
}

static void transmit(struct worker *worker, struct vsock *vsock)
{
    struct virtqueue *queue = worker->queues[VSOCK_TRANSMIT];
    uint32_t n = queue->size;

    virtqueue_busy(queue);
    while (n && vsock->n_resets < VSOCK_RESETS && worker_take(worker, VSOCK_TRANSMIT, &worker->chain)) {
        packet(vsock, &worker->chain);
        worker_put(worker, VSOCK_TRANSMIT, &worker->chain, 0);
        if (--n % BATCH == 0)
            worker_tell(worker, VSOCK_TRANSMIT);
        if (LOAD(worker->holds))
            break;
    }
    /* When there is room for resets again, it is the driver that has made it: the receive queue tells. */
    if (vsock->n_resets < VSOCK_RESETS && worker_wait(worker, VSOCK_TRANSMIT))
        worker->again |= 1 << VSOCK_TRANSMIT;
    worker_tell(worker, VSOCK_TRANSMIT);
}

/* To the guest */

static uint32_t allowance(const struct vsock_connection *connection)
{
    uint32_t outstanding = connection->sent - connection->peer_forwarded;

    return outstanding < connection->peer_buffer ? connection->peer_buffer - outstanding : 0;
}

/* Whether there is something to read from the socket, and the guest can take it. */
static bool has_data(const struct vsock_connection *connection)
{
    return connection->state == OPEN && connection->readable && !(connection->owed & RESPONSE) &&
           !(connection->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) &&
           !(connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) && allowance(connection);
}

/* Read from the socket into a chain, behind the header. Returns the bytes; 0: see what is owed. */
static uint32_t pull(struct vsock_connection *connection, const struct virtqueue_chain *chain)
{
    struct iovec ranges[VIRTQUEUE_SIZE];
    uint32_t size = chain->writable - HEADER, most = allowance(connection);
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
        close_host(connection, VIRTIO_VSOCK_SHUTDOWN_SEND);
    else if (errno == EAGAIN)
        connection->readable = false;
    else
        end(connection, true);
    return 0;
}

/* The header of the connection's next packet; data is in the chain already. A chain that turns out to be needed for
 * nothing tells of the credit, which is never wrong. */
static struct virtio_vsock_hdr compose(struct vsock *vsock, struct vsock_connection *connection,
                                       const struct virtqueue_chain *chain)
{
    static const struct {
        uint8_t owed, op;
    } order[] = {
        {RESET, VIRTIO_VSOCK_OP_RST},
        {REQUEST, VIRTIO_VSOCK_OP_REQUEST},
        {RESPONSE, VIRTIO_VSOCK_OP_RESPONSE},
        {SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN},
    };
    struct virtio_vsock_hdr header = {
        .src_cid = HOST,
        .dst_cid = vsock->cid,
        .src_port = connection->host_port,
        .dst_port = connection->guest_port,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = VIRTIO_VSOCK_OP_CREDIT_UPDATE,
        .buf_alloc = VSOCK_BUFFER,
    };

    if (has_data(connection) && (header.len = pull(connection, chain)))
        header.op = VIRTIO_VSOCK_OP_RW;
    for (uint32_t i = 0; i < sizeof order / sizeof *order && header.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE; i++)
        if (connection->owed & order[i].owed) {
            header.op = order[i].op;
            connection->owed &= (uint8_t)~order[i].owed;
        }
    if (header.op == VIRTIO_VSOCK_OP_SHUTDOWN)
        header.flags = connection->host_shut;
    connection->owed &= (uint8_t)~CREDIT; /* each packet tells of it */
    connection->sent += header.len;
    header.fwd_cnt = connection->told = connection->forwarded;
    return header;
}

/* Take a chain of the driver's that has room for a packet. One that has not goes back. */
static bool take_room(struct worker *worker, uint32_t *budget)
{
    while (*budget && worker_take(worker, VSOCK_RECEIVE, &worker->chain)) {
        --*budget;
        worker->chain.status = 0;
        if (worker->chain.writable >= HEADER)
            return true;
        worker->chain.status = 1;
        worker_put(worker, VSOCK_RECEIVE, &worker->chain, 0);
    }
    return false;
}

/* Give it back with a packet, whose data is in it already. */
static void give(struct worker *worker, const struct virtio_vsock_hdr *header)
{
    chain_write(&worker->chain, 0, header, HEADER);
    worker_put(worker, VSOCK_RECEIVE, &worker->chain, HEADER + header->len);
}

/* Send what there is to send; false: the driver has no room for it, or others have their turn. */
static bool receive_all(struct worker *worker, struct vsock *vsock)
{
    uint32_t budget = worker->queues[VSOCK_RECEIVE]->size, idle = 0;

    while (vsock->n_resets) {
        struct virtio_vsock_hdr to = vsock->resets[vsock->n_resets - 1];
        struct virtio_vsock_hdr header = {
            .src_cid = to.dst_cid,
            .dst_cid = to.src_cid,
            .src_port = to.dst_port,
            .dst_port = to.src_port,
            .type = to.type,
            .op = VIRTIO_VSOCK_OP_RST,
        };
        if (!take_room(worker, &budget))
            return false;
        if (vsock->n_resets-- == VSOCK_RESETS)
            worker->again |= 1 << VSOCK_TRANSMIT;
        give(worker, &header);
    }
    while (idle < vsock->n_connections) { /* one packet of each in turn */
        struct vsock_connection *connection = vsock->connections[vsock->turn % vsock->n_connections];
        struct virtio_vsock_hdr header;
        if (connection->owed || has_data(connection)) {
            if (!take_room(worker, &budget))
                return false;
            header = compose(vsock, connection, &worker->chain);
            give(worker, &header);
            if (budget % BATCH == 0)
                worker_tell(worker, VSOCK_RECEIVE);
            idle = 0;
        } else {
            idle++;
        }
        vsock->turn = (vsock->turn + 1) % vsock->n_connections;
    }
    return true;
}

static void receive(struct worker *worker, struct vsock *vsock)
{
    struct virtqueue *queue = worker->queues[VSOCK_RECEIVE];

    virtqueue_busy(queue);
    if (!receive_all(worker, vsock) && worker_wait(worker, VSOCK_RECEIVE))
        worker->again |= 1 << VSOCK_RECEIVE;
    worker_tell(worker, VSOCK_RECEIVE);
}

static void announce(struct worker *worker, struct vsock *vsock)
{
    struct virtio_vsock_event event = {VIRTIO_VSOCK_EVENT_TRANSPORT_RESET};

    while (vsock->announce && worker_take(worker, VSOCK_EVENT, &worker->chain)) {
        vsock->announce = chain_write(&worker->chain, 0, &event, sizeof event) < sizeof event;
        worker_put(worker, VSOCK_EVENT, &worker->chain, vsock->announce ? 0 : sizeof event);
    }
    if (vsock->announce && worker_wait(worker, VSOCK_EVENT))
        worker->again |= 1 << VSOCK_EVENT;
    worker_tell(worker, VSOCK_EVENT);
}

/* The host's side */

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
        end(connection, false);
    if (line <= 0)
        return;
    do
        vsock->port = vsock->port >= FIRST_PORT && vsock->port < UINT32_MAX - 1 ? vsock->port + 1 : FIRST_PORT;
    while (find(vsock, guest_port, vsock->port));
    connection->guest_port = guest_port;
    connection->host_port = vsock->port;
    connection->state = REQUESTED;
    connection->owed = REQUEST;
}

static void welcome(struct vsock *vsock)
{
    while (vsock->waiting) {
        int fd = accept4(vsock->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            add(vsock, fd, GREETED);
        else if (errno == EAGAIN)
            vsock->waiting = false;
        else if (errno != ECONNABORTED && errno != EINTR)
            return; /* the host lacks descriptors or memory: later */
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
        end(connection, !(connection->owed & REQUEST));
    } else if (connection->state == OPEN) {
        /* The guest gets what the host has sent before, if it wants it. */
        close_host(connection, connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV ? BOTH : VIRTIO_VSOCK_SHUTDOWN_RCV);
    }
}

static void look(struct vsock *vsock)
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

static void serve(struct worker *worker, uint64_t told)
{
    struct vsock *vsock = worker->state;

    worker->fds[0] = (struct pollfd){.fd = vsock->events, .events = POLLIN};
    worker->n_fds = 1;
    announce(worker, vsock);
    look(vsock);
    transmit(worker, vsock);
    receive(worker, vsock);
    sweep(vsock);
    worker->timeout = vsock->waiting ? RETRY : -1;
}

int vsock_open(struct vsock *vsock)
{
    vsock->events = epoll_create1(EPOLL_CLOEXEC);
    return vsock->events < 0 || !watch(vsock, vsock->listener, vsock) ? errno : 0;
}

void vsock_reset(struct vsock *vsock)
{
    for (uint32_t i = 0; i < vsock->n_connections; i++)
        end(vsock->connections[i], false);
    sweep(vsock);
    vsock->n_resets = vsock->turn = vsock->announce = 0;
}

void vsock_close(struct vsock *vsock)
{
    vsock_reset(vsock);
    if (vsock->events >= 0)
        close(vsock->events);
    vsock->events = -1;
}

struct worker_device vsock_device = {.serve = serve};

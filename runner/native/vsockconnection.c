#include "vsockconnection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { MOST = 1 << 30 }; /* bytes on the way to a guest at once, whatever it says */

static bool watch(struct vsock *vsock, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = what};

    return !epoll_ctl(vsock->events, EPOLL_CTL_ADD, fd, &event);
}

/* A new connection with a socket, which is the connection's from now on. NULL: there can be none. */
struct vsock_connection *vsock_add(struct vsock *vsock, int fd, enum vsock_state state)
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
void vsock_end(struct vsock_connection *connection, bool tell)
{
    connection->state = ENDED;
    connection->owed = tell ? RESET : 0;
    hang_up(connection);
}

/* The guest's connection between two ports, NULL: none. One that ended is there until the guest knows. */
struct vsock_connection *vsock_find(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
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
void vsock_sweep(struct vsock *vsock)
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

/* The host receives or sends no more. */
void vsock_close_host(struct vsock_connection *connection, uint8_t flags)
{
    if (connection->state == OPEN && flags & ~connection->host_shut)
        connection->owed |= SHUTDOWN;
    connection->host_shut |= flags;
}

/* What the guest says of its buffer. False: it has passed on more than it got. */
bool vsock_credit(struct vsock_connection *connection, const struct virtio_vsock_hdr *header)
{
    if ((int32_t)(connection->sent - header->fwd_cnt) < 0)
        return false;
    connection->peer_buffer = header->buf_alloc < MOST ? header->buf_alloc : MOST;
    connection->peer_forwarded = header->fwd_cnt;
    return true;
}

uint32_t vsock_allowance(const struct vsock_connection *connection)
{
    uint32_t outstanding = connection->sent - connection->peer_forwarded;

    return outstanding < connection->peer_buffer ? connection->peer_buffer - outstanding : 0;
}

int vsock_open(struct vsock *vsock)
{
    vsock->events = epoll_create1(EPOLL_CLOEXEC);
    return vsock->events < 0 || !watch(vsock, vsock->listener, vsock) ? errno : 0;
}

void vsock_reset(struct vsock *vsock)
{
    for (uint32_t i = 0; i < vsock->n_connections; i++)
        vsock_end(vsock->connections[i], false);
    vsock_sweep(vsock);
    vsock->n_resets = vsock->turn = vsock->announce = 0;
}

void vsock_close(struct vsock *vsock)
{
    vsock_reset(vsock);
    if (vsock->events >= 0)
        close(vsock->events);
    vsock->events = -1;
}

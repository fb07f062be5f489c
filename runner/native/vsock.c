#include "vsock.h"

#include "atomic.h"
#include "vsockconnection.h"
#include "vsocksocket.h"

#include <sys/socket.h>

enum { BATCH = 16 }; /* packets between two looks whether the driver wants an interrupt */

/* From the guest */

static bool shut(struct vsock_connection *connection, uint32_t flags)
{
    connection->guest_shut |= flags & BOTH;
    if (connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)
        shutdown(connection->fd, SHUT_RD);
    vsock_settle(connection);
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
        return !connection && vsock_connect(vsock, header);
    if (!connection || !vsock_credit(connection, header))
        return false;
    if (header->op == VIRTIO_VSOCK_OP_RESPONSE)
        return connection->state == REQUESTED && !(connection->owed & REQUEST) && vsock_answer(connection);
    if (connection->state != OPEN || connection->owed & RESPONSE)
        return false;
    switch (header->op) {
    case VIRTIO_VSOCK_OP_RW:
        return vsock_pass_on(connection, chain, header->len);
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
        connection = vsock_find(vsock, header.src_port, header.dst_port);
    if (header.op == VIRTIO_VSOCK_OP_RST) {
        chain->status = 0; /* also of one that both sides have just ended, whichever was first */
        if (connection)
            vsock_end(connection, false);
    } else if (connection && connection->state == ENDED) {
        return; /* its reset is on the way */
    } else if (header.dst_cid == HOST && obey(vsock, connection, &header, chain)) {
        chain->status = 0;
    } else if (connection) {
        vsock_end(connection, true);
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
    /* The driver makes room for resets again: the notification of the receive queue shows it. */
    if (vsock->n_resets < VSOCK_RESETS && worker_wait(worker, VSOCK_TRANSMIT))
        worker->again |= 1 << VSOCK_TRANSMIT;
    worker_tell(worker, VSOCK_TRANSMIT);
}

/* To the guest */

/* Whether there is something to read from the socket, and the guest can take it. */
static bool has_data(const struct vsock_connection *connection)
{
    return connection->state == OPEN && connection->readable && !(connection->owed & RESPONSE) &&
           !(connection->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) &&
           !(connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) && vsock_allowance(connection);
}

/* The header of the connection's next packet; data is in the chain already. A chain that turns out not to be
 * needed carries the credit, which is always valid. */
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

    if (has_data(connection) && (header.len = vsock_pull(connection, chain)))
        header.op = VIRTIO_VSOCK_OP_RW;
    for (uint32_t i = 0; i < sizeof order / sizeof *order && header.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE; i++)
        if (connection->owed & order[i].owed) {
            header.op = order[i].op;
            connection->owed &= (uint8_t)~order[i].owed;
        }
    if (header.op == VIRTIO_VSOCK_OP_SHUTDOWN)
        header.flags = connection->host_shut;
    connection->owed &= (uint8_t)~CREDIT; /* each packet carries it */
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

static void serve(struct worker *worker, uint64_t told)
{
    struct vsock *vsock = worker->state;

    worker->fds[0] = (struct pollfd){.fd = vsock->events, .events = POLLIN};
    worker->n_fds = 1;
    announce(worker, vsock);
    vsock_look(vsock);
    transmit(worker, vsock);
    receive(worker, vsock);
    vsock_sweep(vsock);
    worker->timeout = vsock->retry;
}

struct worker_device vsock_device = {.serve = serve};

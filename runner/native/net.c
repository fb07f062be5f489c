#include "net.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))

enum { BATCH = 64 }; /* frames of a pair and direction until the others have their turn */

struct net *net_new(uint32_t n_pairs, const struct net_backend *backend)
{
    struct net *net = calloc(1, sizeof *net + n_pairs * sizeof net->pair[0]);

    if (!net)
        return NULL;
    net->backend = backend;
    net->n_pairs = n_pairs;
    net->pairs = 1;
    net->up = true;
    for (uint32_t i = 0; i < n_pairs; i++)
        net->pair[i].fd = -1;
    return net;
}

void net_attach(struct net *net, uint32_t pair, int fd)
{
    net->pair[pair].fd = fd;
}

void net_use(struct net *net, uint32_t pairs)
{
    net->pairs = pairs;
    if (net->backend->use)
        net->backend->use(net, pairs);
}

void net_begin(struct net *net, uint64_t features)
{
    net->features = features;
    net_use(net, net->pairs);
}

void net_reset(struct net *net)
{
    net->features = 0;
    for (uint32_t i = 0; i < net->n_pairs; i++) {
        net->counts.forgotten += net->pair[i].size > 0;
        net->pair[i].size = 0;
        net->pair[i].full = net->pair[i].buffers = false;
    }
    if (net->backend->forget)
        net->counts.forgotten += net->backend->forget(net);
    net_use(net, 1);
}

/* Whether the other side may be given such a frame: checksums and segments as were agreed on (5.1.6.2, 5.1.6.4). The
 * frame has `size` bytes after its header. */
static bool agreed(const struct net *net, const struct virtio_net_hdr_v1 *header, uint32_t size, bool from_driver)
{
    uint64_t features = net->features;
    uint32_t checksum = from_driver ? VIRTIO_NET_F_CSUM : VIRTIO_NET_F_GUEST_CSUM;
    uint32_t tso4 = from_driver ? VIRTIO_NET_F_HOST_TSO4 : VIRTIO_NET_F_GUEST_TSO4;
    uint32_t tso6 = from_driver ? VIRTIO_NET_F_HOST_TSO6 : VIRTIO_NET_F_GUEST_TSO6;
    uint32_t ecn = from_driver ? VIRTIO_NET_F_HOST_ECN : VIRTIO_NET_F_GUEST_ECN;

    if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        if (!(features & BIT(checksum)) || (uint32_t)header->csum_start + header->csum_offset + 2 > size)
            return false;
    }
    if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE)
        return true;
    if (!(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || !header->gso_size)
        return false;
    if (header->gso_type & VIRTIO_NET_HDR_GSO_ECN && !(features & BIT(ecn)))
        return false;
    switch (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
        return features & BIT(tso4);
    case VIRTIO_NET_HDR_GSO_TCPV6:
        return features & BIT(tso6);
    default:
        return false;
    }
}

/* The driver's frame: the header that was copied, then the rest of what the device reads. Returns an errno. */
static int send_chain(struct net *net, uint32_t pair, const struct virtqueue_chain *chain)
{
    struct virtio_net_hdr_v1 header;
    struct iovec ranges[VIRTQUEUE_SIZE];
    uint32_t n = 0, skip = NET_HEADER;
    int error;

    if (chain->readable < NET_HEADER + NET_ETHERNET || chain->readable > NET_FRAME)
        return EINVAL;
    chain_read(chain, 0, &header, sizeof header);
    header.num_buffers = 0; /* of no meaning in this direction (5.1.6.2) */
    if (!agreed(net, &header, chain->readable - NET_HEADER, true))
        return EINVAL;
    ranges[n++] = (struct iovec){&header, sizeof header};
    for (uint32_t i = 0; i < chain->n_readable; i++) {
        struct iovec range = chain->ranges[i];
        uint32_t part = skip < range.iov_len ? skip : (uint32_t)range.iov_len;
        skip -= part;
        if (part == range.iov_len)
            continue;
        /* One more than writev(2) takes; or what is captured must be what is sent, whatever the guest writes. */
        if (n == VIRTQUEUE_SIZE || net->capture || net->backend->whole) {
            uint32_t size = chain_read(chain, NET_HEADER, net->scratch, sizeof net->scratch);
            ranges[1] = (struct iovec){net->scratch, size};
            n = 2;
            break;
        }
        ranges[n++] = (struct iovec){(uint8_t *)range.iov_base + part, range.iov_len - part};
    }
    error = net->backend->send(net, pair, ranges, n);
    if (!error && net->capture)
        capture_frame(net->capture, net->scratch, chain->readable - NET_HEADER, false);
    return error;
}

static void from_driver(struct net *net, struct worker *worker, uint32_t pair)
{
    struct net_pair *the = &net->pair[pair];
    uint32_t queue = 2 * pair + 1;
    struct virtqueue *from = worker->queues[queue];

    virtqueue_busy(from);
    for (uint32_t n = 0; n < BATCH; n++) {
        int error;
        if (!worker_take(worker, queue, &worker->chain))
            break;
        error = send_chain(net, pair, &worker->chain);
        the->full = error == EAGAIN;
        if (the->full) {
            virtqueue_untake(from, 1);
            break;
        }
        worker->chain.length = worker->chain.readable > NET_HEADER ? worker->chain.readable - NET_HEADER : 0;
        worker->chain.status = error ? REQUEST_ERROR : REQUEST_OK;
        *(error == 0 ? &net->counts.sent : error == EINVAL ? &net->counts.malformed : &net->counts.refused) += 1;
        worker_put(worker, queue, &worker->chain, 0);
    }
    if (!the->full && worker_wait(worker, queue))
        worker->again |= BIT(queue);
    worker_tell(worker, queue);
}

/* Take chains until they have room for `size` bytes, and give them back; return how many there are, 0: not enough yet,
 * and the driver will tell of more. */
static uint32_t chains_for(struct worker *worker, uint32_t queue, uint32_t size)
{
    struct virtqueue *to = worker->queues[queue];
    uint32_t n = 0, room = 0;

    do {
        while (room < size && worker_take(worker, queue, &worker->chain)) {
            n++;
            room += worker->chain.writable < size ? worker->chain.writable : size;
        }
    } while (room < size && worker_wait(worker, queue));
    virtqueue_untake(to, n);
    return room < size ? 0 : n;
}

/* Put the frame that waits into buffers of the driver's: false, it goes on waiting. */
static bool deliver(struct net *net, struct worker *worker, uint32_t pair)
{
    struct net_pair *the = &net->pair[pair];
    uint32_t queue = 2 * pair, at = 0, n = 1;
    bool first = true;
    struct virtqueue *to = worker->queues[queue];
    struct virtio_net_hdr_v1 *header = (void *)the->frame;

    if (net->features & BIT(VIRTIO_NET_F_MRG_RXBUF)) {
        n = chains_for(worker, queue, the->size);
        if (!n && virtqueue_ahead(to) >= to->size) { /* all the buffers that it can have are too few */
            the->size = 0;
            net->counts.unfit++;
            return true;
        }
        if (!n)
            return false;
    }
    header->num_buffers = (uint16_t)n;
    virtqueue_gather(to); /* the driver sees all buffers of a frame at once */
    while (n && worker_take(worker, queue, &worker->chain)) {
        uint32_t part;
        if (n == 1 && worker->chain.writable < the->size - at) { /* without merged buffers; or the guest changed it */
            worker->chain.status = REQUEST_ERROR;
            worker_put(worker, queue, &worker->chain, 0);
            break;
        }
        worker->chain.length = first ? the->size - NET_HEADER : 0; /* a frame's first buffer counts for all of it */
        first = false;
        part = chain_write(&worker->chain, 0, the->frame + at, the->size - at);
        worker_put(worker, queue, &worker->chain, part);
        at += part;
        n--;
    }
    worker_publish(worker, queue);
    if (to->fault)
        return false;
    if (at < the->size)
        net->counts.unfit++;
    the->size = 0;
    return true;
}

static bool has_buffers(const struct worker *worker, uint32_t queue)
{
    const struct virtqueue *from = worker->queues[queue];

    return from->size && !from->fault && virtqueue_ahead(from);
}

static void to_driver(struct net *net, struct worker *worker, uint32_t pair)
{
    struct net_pair *the = &net->pair[pair];
    uint32_t queue = 2 * pair;

    the->buffers = has_buffers(worker, queue);
    for (uint32_t n = 0; the->buffers && n < BATCH; n++) {
        if (!the->size) {
            const struct virtio_net_hdr_v1 *header = (void *)the->frame;
            the->size = the->ready ? net->backend->receive(net, pair, the->frame) : 0;
            the->ready = the->size;
            if (!the->size)
                break;
            if (net->capture && the->size > NET_HEADER)
                capture_frame(net->capture, the->frame + NET_HEADER, the->size - NET_HEADER, true);
            net->counts.received++;
            if (the->size < NET_HEADER + NET_ETHERNET || !agreed(net, header, the->size - NET_HEADER, false)) {
                net->counts.unfit++;
                the->size = 0;
                continue;
            }
        }
        if (!deliver(net, worker, pair))
            break; /* the driver notifies the queue when it adds buffers */
        the->buffers = has_buffers(worker, queue);
    }
    if (the->buffers && !the->size)
        virtqueue_busy(worker->queues[queue]);
    else if (!the->size && worker_wait(worker, queue)) {
        the->buffers = true;
        worker->again |= BIT(queue);
    }
    worker_tell(worker, queue);
}

/* Whether two tables of addresses follow in the command, each after the number of its entries (5.1.6.5.2). */
static bool has_tables(const struct virtqueue_chain *chain, uint64_t at)
{
    for (int i = 0; i < 2; i++) {
        uint32_t entries;
        if (at > chain->readable || chain_read(chain, (uint32_t)at, &entries, sizeof entries) < sizeof entries)
            return false;
        at += sizeof entries + 6 * (uint64_t)entries;
    }
    return at <= chain->readable;
}

/* The control queue (5.1.6.5). Which frames the driver wants to receive (5.1.6.5.1, 5.1.6.5.2) is taken note of by
 * nobody: it gets all frames, as a device may do. */
static uint32_t control(struct worker *worker, uint32_t queue, struct virtqueue_chain *chain)
{
    struct net *net = worker->state;
    struct virtio_net_ctrl_hdr command;
    struct virtio_net_ctrl_mq pairs;
    uint8_t flag, answer = VIRTIO_NET_ERR;
    uint32_t at = sizeof command;

    if (chain_read(chain, 0, &command, sizeof command) == sizeof command) {
        if (command.class == VIRTIO_NET_CTRL_RX && command.cmd <= VIRTIO_NET_CTRL_RX_ALLMULTI &&
            chain_read(chain, at, &flag, sizeof flag) == sizeof flag && flag <= 1)
            answer = VIRTIO_NET_OK;
        if (command.class == VIRTIO_NET_CTRL_MAC && command.cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET &&
            has_tables(chain, at))
            answer = VIRTIO_NET_OK;
        if (command.class == VIRTIO_NET_CTRL_MQ && command.cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET &&
            net->features & BIT(VIRTIO_NET_F_MQ) && chain_read(chain, at, &pairs, sizeof pairs) == sizeof pairs &&
            pairs.virtqueue_pairs && pairs.virtqueue_pairs <= net->n_pairs) {
            net_use(net, pairs.virtqueue_pairs);
            answer = VIRTIO_NET_OK;
        }
    }
    chain->kind = REQUEST_CONTROL; /* whatever its queue's number is */
    chain->status = answer == VIRTIO_NET_OK ? REQUEST_OK : REQUEST_UNSUPPORTED;
    return chain_write(chain, 0, &answer, sizeof answer);
}

static void serve(struct worker *worker, uint64_t told)
{
    struct net *net = worker->state;
    uint32_t n = net->features & BIT(VIRTIO_NET_F_MQ) ? net->n_pairs : 1, last = 2 * n;
    uint32_t failed = net->capture ? net->capture->error : 0;
    bool up = net->up;

    told |= net->backend->polled(net, worker);
    if (net->features & BIT(VIRTIO_NET_F_CTRL_VQ) && told >> last & 1)
        worker_answer(worker, last, control);
    for (uint32_t i = 0; i < n; i++) {
        struct net_pair *the = &net->pair[i];
        if (told >> (2 * i + 1) & 1 && !the->full)
            from_driver(net, worker, i);
        if (told >> 2 * i & 1 || the->ready)
            to_driver(net, worker, i);
        if (the->ready && the->buffers && !the->size)
            worker->again |= BIT(2 * i);
    }
    net->backend->poll(net, worker);
    if (net->capture)
        capture_flush(net->capture);
    if (net->up != up || (net->capture && net->capture->error != failed))
        worker_trouble(worker); /* the configuration says so; the run ends */
}

static void rest(struct worker *worker)
{
    struct net *net = worker->state;

    if (net->backend->rest)
        net->backend->rest(net);
}

struct worker_device worker_net = {.serve = serve, .rest = rest};

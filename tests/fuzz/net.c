/* Fuzzes virtio-net, with a hostile peer behind it: nothing leaves the device but frames, as they were agreed on.
 * User-mode networking has a file of its own: netuser.c. */
#define _GNU_SOURCE /* accept4 */
#include "device.h"

#include "net.h"
#include "netstream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { PAIRS = 2, CHECKSUMS = 1 << VIRTIO_NET_F_CSUM | 1 << VIRTIO_NET_F_GUEST_CSUM };

static const uint64_t segments = 1 << VIRTIO_NET_F_HOST_TSO4 | 1 << VIRTIO_NET_F_HOST_TSO6 |
                                 1 << VIRTIO_NET_F_HOST_ECN | 1 << VIRTIO_NET_F_GUEST_TSO4 |
                                 1 << VIRTIO_NET_F_GUEST_TSO6 | 1 << VIRTIO_NET_F_GUEST_ECN;
static struct net *net;
static uint64_t agreed; /* the features of all drivers of an input: frames may wait on the wire */
static bool stream;
static struct capture capture;
static int listening = -1, captured = -1;
static int near[PAIRS], far[PAIRS];
static uint8_t frame[2 * NET_FRAME];

static void check(bool holds)
{
    if (!holds)
        abort();
}

static int listener(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX}; /* without a name, which the kernel gives it */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    check(fd >= 0 && !bind(fd, (void *)&address, sizeof address.sun_family) && !listen(fd, 4));
    return fd;
}

static void pair(uint32_t i)
{
    int ends[2], room = 1; /* as little as there can be, so that it is full sometimes */

    check(!socketpair(AF_UNIX, (stream ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_NONBLOCK, 0, ends));
    check(!setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room));
    near[i] = ends[0];
    far[i] = ends[1];
}

static void begin(uint8_t options)
{
    uint64_t features = options & 4 ? 1 << VIRTIO_NET_F_MRG_RXBUF : 0;

    features |= options & 8 ? 1 << VIRTIO_NET_F_CTRL_VQ : 0;
    features |= options & 16 ? 1 << VIRTIO_NET_F_MQ : 0;
    features |= options & 32 ? CHECKSUMS : 0;
    features |= options & 64 ? segments : 0;
    agreed |= features;
    net_begin(net, features);
}

static void device_open(struct worker *worker, uint8_t options)
{
    bool listens = options & 2;
    uint32_t pairs;

    stream = options & 1;
    pairs = stream ? 1 : PAIRS;
    near[0] = near[1] = far[0] = far[1] = -1;
    net = net_new(pairs, stream ? &net_stream : &net_tap);
    check(net);
    if (listening < 0)
        listening = listener();
    if (stream) {
        if (!listens)
            pair(0);
        check(!net_stream_open(net, listens ? dup(listening) : near[0], listens));
    }
    for (uint32_t i = 0; !stream && i < pairs; i++) {
        pair(i);
        net_attach(net, i, near[i]);
    }
    agreed = 0;
    if (captured < 0)
        captured = memfd_create("capture", 0);
    check(!ftruncate(captured, 0) && !lseek(captured, 0, SEEK_SET));
    memset(&capture, 0, offsetof(struct capture, buffer));
    capture.fd = captured;
    capture.tsc_khz = 1000000;
    net->capture = options & 128 ? &capture : NULL;
    begin(options);
    worker->device = &worker_net;
    worker->state = net;
    worker->n_queues = 2 * pairs + 1;
}

/* The capture has whole blocks, one for each frame. */
static void check_capture(void)
{
    off_t end = lseek(captured, 0, SEEK_END), at = 0;
    uint32_t block[2], last;
    uint64_t n = 0;

    for (; at < end; at += block[1], n++) {
        check(pread(captured, block, sizeof block, at) == sizeof block && block[0] == 6);
        check(block[1] >= 44 && block[1] % 4 == 0 && block[1] <= 44 + NET_FRAME);
        check(pread(captured, &last, sizeof last, at + block[1] - 4) == sizeof last && last == block[1]);
    }
    check(at == end && n == capture.frames && (!net->capture || n >= net->counts.sent));
}

static void device_close(struct worker *worker)
{
    int fd;

    check_capture();
    for (uint32_t i = 0; i < PAIRS; i++) {
        if (!stream && near[i] >= 0)
            close(near[i]);
        if (far[i] >= 0)
            close(far[i]);
    }
    if (stream)
        net_stream_close(net);
    free(net);
    while ((fd = accept4(listening, NULL, NULL, 0)) >= 0) /* of this input's: the device did not take it */
        close(fd);
}

static void connect_again(void)
{
    struct sockaddr_un address;
    socklen_t size = sizeof address;

    if (far[0] >= 0)
        close(far[0]);
    far[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    check(!getsockname(listening, (void *)&address, &size));
    if (connect(far[0], (void *)&address, size)) { /* too many wait */
        close(far[0]);
        far[0] = -1;
    }
}

/* What the device has sent is a frame. On a stream, its end may have no room yet: then the peer is lost. */
static void receive(uint32_t i)
{
    struct virtio_net_hdr_v1 header = {0};
    uint32_t length = 0;
    ssize_t n;

    if (!stream) {
        n = recv(far[i], frame, sizeof frame, 0);
        if (n <= 0)
            return;
        check(n >= NET_HEADER + NET_ETHERNET && n <= NET_FRAME);
        memcpy(&header, frame, sizeof header);
        check(!(header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || agreed & 1 << VIRTIO_NET_F_CSUM);
        check(!header.gso_type || agreed & segments);
        return;
    }
    n = recv(far[i], &length, sizeof length, 0);
    if (n <= 0)
        return;
    length = ntohl(length);
    check(n == sizeof length && length >= NET_ETHERNET && length <= NET_FRAME - NET_HEADER);
    n = recv(far[i], frame, length, 0);
    check(n <= (ssize_t)length);
    if (n != (ssize_t)length) {
        close(far[i]);
        far[i] = -1;
    }
}

/* A driver that does as it should: a chain of a few buffers, which begins with what the program has, and a word of it. */
static void offer(struct worker *worker, struct guest *guest)
{
    uint8_t how = (uint8_t)guest_next(guest, 1);
    uint32_t queue = (how & 7) % worker->n_queues, n = 1 + 2 * (how >> 3 & 3);
    uint64_t at = 0x3000, bytes[2] = {guest_next(guest, how & 32 ? 8 : 2), guest_next(guest, how & 32 ? 8 : 0)};
    bool last = queue == worker->n_queues - 1; /* the control queue, of a driver that uses all of them */

    guest_write(guest, at, bytes, sizeof bytes);
    for (uint16_t i = 0; i < n; i++) {
        struct vring_desc descriptor = {.addr = at, .next = i + 1};
        descriptor.len = 1 + ((uint32_t)guest_next(guest, 1) << (how & 64 ? 6 : 0));
        descriptor.flags = (queue % 2 || (last && i + 1 < n) ? 0 : VRING_DESC_F_WRITE);
        descriptor.flags |= i + 1u < n ? VRING_DESC_F_NEXT : 0;
        guest_write(guest, guest_descriptors(queue) + i * sizeof descriptor, &descriptor, sizeof descriptor);
        at = how & 64 ? 0 : at + descriptor.len; /* a long one begins at 0 */
    }
    guest_offer(guest, queue, 0);
    serve(worker, UINT64_C(1) << queue);
}

static void device_outside(struct worker *worker, struct guest *guest)
{
    uint8_t how = (uint8_t)guest_next(guest, 1);
    uint32_t i = stream ? 0 : how >> 7, prefix = 0, size;
    uint64_t head[2];

    switch (how % 8) {
    case 0: /* the other side is gone */
        if (far[i] >= 0 && how & 64)
            shutdown(far[i], how & 32 ? SHUT_RD : SHUT_WR);
        else if (far[i] >= 0)
            far[i] = (close(far[i]), -1);
        return;
    case 1:
        if (stream)
            connect_again();
        return;
    case 2: /* the driver is another one */
        if (worker->device->rest)
            worker->device->rest(worker);
        net_reset(net);
        for (uint32_t queue = 0; queue < worker->n_queues; queue++)
            virtqueue_stop(worker->queues[queue]);
        begin((uint8_t)guest_next(guest, 1));
        return;
    case 3:
        for (uint32_t n = 0; far[i] >= 0 && n < 8; n++)
            receive(i);
        return;
    case 4:
        offer(worker, guest);
        return;
    case 5: /* any bytes, so what follows is no prefix */
        size = (uint32_t)guest_next(guest, 1) % 16;
        prefix = (uint32_t)guest_next(guest, 4);
        memcpy(frame, &prefix, sizeof prefix);
        break;
    default: /* a frame of any size, with a header if there is one on the wire */
        size = (uint32_t)guest_next(guest, how & 16 ? 2 : 1) << (how >> 5 & 1);
        head[0] = guest_next(guest, how & 8 ? 8 : 2);
        head[1] = guest_next(guest, how & 8 ? 4 : 0);
        if (stream) {
            prefix = htonl(size);
            memcpy(frame, &prefix, sizeof prefix);
            size += sizeof prefix;
        } else {
            memcpy(frame, head, NET_HEADER);
        }
    }
    if (far[i] >= 0 && send(far[i], frame, size, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        far[i] = (close(far[i]), -1);
}

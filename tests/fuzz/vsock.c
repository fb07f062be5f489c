/* Fuzzes virtio-vsock: a hostile driver, programs of the host that connect, and sockets that the guest's connections go
 * to, whose ends read, write, and close as the input says. Nothing waits, and no socket outlives the device. */
#define _GNU_SOURCE /* SOCK_NONBLOCK */
#include "device.h"

#include "vsock.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { CID = 3, HOST_CID = 2, PORTS = 2, ENDS = 8, OPERATIONS = 9, MOST = 256 /* a descriptor's number */ };

static struct vsock *vsock;
static char directory[] = "/tmp/vmrun-fuzz-XXXXXX";
static int listener = -1, servers[PORTS];
static int ends[ENDS]; /* of the host's programs, -1: none */
static uint32_t sockets; /* that are open without a device */

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* The open sockets: sanitizers open pipes of their own at times. */
static uint32_t count(void)
{
    struct stat status;
    uint32_t n = 0;

    for (int fd = 0; fd < MOST; fd++)
        n += !fstat(fd, &status) && S_ISSOCK(status.st_mode);
    return n;
}

static int listening(const char *suffix)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s/vm%s", directory, suffix);
    unlink(address.sun_path);
    check(fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof address) && !listen(fd, ENDS));
    return fd;
}

/* Where the sockets are removed: they have names. */
static void clean(void)
{
    static const char *const suffixes[] = {"", "_0", "_1"};
    char path[64];

    for (uint32_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(path, sizeof path, "%s/vm%s", directory, suffixes[i]);
        unlink(path);
    }
    rmdir(directory);
}

static void device_open(struct worker *worker, uint8_t options)
{
    if (listener < 0) {
        check(mkdtemp(directory));
        atexit(clean);
        listener = listening("");
        servers[0] = listening("_0");
        servers[1] = listening("_1");
        vsock = calloc(1, sizeof *vsock);
        sockets = count();
    }
    *vsock = (struct vsock){.cid = CID, .listener = listener, .events = -1};
    snprintf(vsock->path, sizeof vsock->path, "%s/vm", directory);
    check(!vsock_open(vsock));
    vsock->announce = options & 1;
    for (uint32_t i = 0; i < ENDS; i++)
        ends[i] = -1;
    worker->device = &vsock_device;
    worker->state = vsock;
    worker->n_queues = 3;
}

static void device_close(struct worker *worker)
{
    static uint64_t inputs;
    int fd;

    vsock_close(vsock);
    check(!vsock->n_connections);
    for (uint32_t i = 0; i < ENDS; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    for (uint32_t i = 0; i <= PORTS; i++) /* the next input finds nobody waiting */
        while ((fd = accept(i < PORTS ? servers[i] : listener, NULL, NULL)) >= 0)
            close(fd);
    if (inputs++ % 64 == 0)
        check(count() == sockets);
}

/* A packet of the guest's that is often well formed, in a chain of its own. */
static void packet(struct guest *guest)
{
    uint8_t what = (uint8_t)guest_next(guest, 1), more = (uint8_t)guest_next(guest, 1);
    uint32_t size = more & 1 ? (uint32_t)guest_next(guest, 2) : more >> 1 & 63;
    struct virtio_vsock_hdr header = {
        .src_cid = what & 16 ? guest_next(guest, 8) : CID,
        .dst_cid = what & 32 ? guest_next(guest, 8) : HOST_CID,
        .src_port = 1000 + (what >> 6),
        .dst_port = more & 128 ? (vsock->port & ~3u) + (uint32_t)guest_next(guest, 1) % 4 : more >> 5 & 3,
        .len = size,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = what % OPERATIONS,
        .flags = (uint32_t)guest_next(guest, 1),
        .buf_alloc = (uint32_t)guest_next(guest, 1) << 10,
        .fwd_cnt = (uint32_t)guest_next(guest, more & 2 ? 4 : 1),
    };
    struct vring_desc chain[2] = {
        {.addr = 0x3800, .len = sizeof header, .flags = VRING_DESC_F_NEXT, .next = 1},
        {.addr = HIGH_AT, .len = more & 4 ? size : HIGH},
    };
    uint64_t queue = guest_descriptors(VSOCK_TRANSMIT);

    guest_write(guest, 0x3800, &header, sizeof header);
    guest_write(guest, queue, chain, sizeof chain);
    guest_offer(guest, VSOCK_TRANSMIT, 0);
}

/* Room for a packet to the guest. */
static void room(struct guest *guest)
{
    uint8_t what = (uint8_t)guest_next(guest, 1);
    uint16_t head = what % 4;
    struct vring_desc descriptor = {.addr = HIGH_AT + 0x100 * head, .len = what & 128 ? what : 0x800};

    descriptor.flags = VRING_DESC_F_WRITE;
    guest_write(guest, guest_descriptors(VSOCK_RECEIVE) + head * sizeof descriptor, &descriptor, sizeof descriptor);
    guest_offer(guest, VSOCK_RECEIVE, head);
}

/* A program of the host connects, and says which port it wants, or something else. */
static void call(struct guest *guest, int *end)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint8_t what = (uint8_t)guest_next(guest, 1);
    char text[32];
    int n;

    *end = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/vm", directory);
    if (*end < 0 || connect(*end, (struct sockaddr *)&address, sizeof address))
        return;
    n = snprintf(text, sizeof text, "CONNECT %u\n", 1000 + what % 4);
    if (what & 16)
        text[what >> 5] = (char)guest_next(guest, 1);
    send(*end, text, (size_t)(what & 8 ? n / 2 : n), MSG_NOSIGNAL);
}

static void device_outside(struct worker *worker, struct guest *guest)
{
    static uint8_t bytes[1 << 16];
    uint8_t what = (uint8_t)guest_next(guest, 1);
    int *end = &ends[what >> 5];
    size_t size = (size_t)guest_next(guest, 1) << (what & 16 ? 8 : 0);

    switch (what % 8) {
    case 0:
    case 1:
        packet(guest);
        break;
    case 2:
        room(guest);
        break;
    case 3: /* a new end: who calls, or who was called */
        if (*end >= 0)
            close(*end);
        *end = -1;
        if (what & 16)
            *end = accept(servers[what >> 5 & 1], NULL, NULL);
        else
            call(guest, end);
        break;
    case 4:
        if (*end >= 0)
            send(*end, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case 5:
        if (*end >= 0)
            recv(*end, bytes, size, MSG_DONTWAIT);
        break;
    case 6:
        if (*end >= 0 && what & 16)
            shutdown(*end, (int)size % 3);
        else if (*end >= 0) {
            close(*end);
            *end = -1;
        }
        break;
    default: /* a reset of the device, or a state that is loaded */
        vsock_reset(vsock);
        check(!vsock->n_connections);
        vsock->announce = what & 16;
    }
}

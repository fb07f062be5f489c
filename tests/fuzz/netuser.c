/* Fuzzes user-mode networking: libslirp, fed by a hostile guest and by programs of the host, behind a network device.
 *
 * The library's packets stay here: the process has a network of its own, with a loopback interface alone. On a host that
 * does not let it have one, the guest's network is restricted, so that nothing leaves it. */
#define _GNU_SOURCE /* unshare */
#include "device.h"

#include "net.h"
#include "netuser.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { FORWARDED = 8080, LISTENS = 7, LONGEST = 0xf00, FRAME_AT = 0x3000, ROOM_AT = 0x2000 };
enum { TCP = 6, UDP = 17, ICMP = 1, ICMP6 = 58 };
enum { FIN = 1, SYN = 2 }; /* of TCP's flags */

static struct net *net;
static struct net_backend spied; /* libslirp's, whose frames are looked at */
static bool isolated;
static int listening = -1, served = -1, client = -1, datagrams = -1;
static uint8_t frame[NET_FRAME];

/* The newest TCP segment for the guest: what answers it is more than noise. */
static struct {
    uint8_t addresses[8];
    uint16_t from, to;
    uint32_t next, expected;
} heard;

/* At its end the library keeps the packets that wait for an answer to ARP. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:g_malloc";
}

static void check(bool holds)
{
    if (!holds)
        abort();
}

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = value >> 8;
    at[1] = value & 0xff;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static uint32_t spy(struct net *to, uint32_t pair, uint8_t *bytes)
{
    uint32_t size = net_user.receive(to, pair, bytes), header, length;
    const uint8_t *ip = bytes + NET_HEADER + NET_ETHERNET, *tcp;

    check(!size || (size >= NET_HEADER + NET_ETHERNET && size <= NET_FRAME));
    if (size < NET_HEADER + NET_ETHERNET + 40 || get16(ip - 2) != 0x800 || ip[9] != TCP)
        return size;
    header = (ip[0] & 15u) * 4;
    length = get16(ip + 2);
    tcp = ip + header;
    if (header < 20 || length < header + 20 || NET_HEADER + NET_ETHERNET + length > size)
        return size;
    memcpy(heard.addresses, ip + 16, 4); /* of the answer: from whom it was sent to, to whom it came from */
    memcpy(heard.addresses + 4, ip + 12, 4);
    heard.from = get16(tcp + 2);
    heard.to = get16(tcp);
    heard.next = get32(tcp + 8);
    heard.expected = get32(tcp + 4) + length - header - (tcp[12] >> 4) * 4u + !!(tcp[13] & (SYN | FIN));
    return size;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(LISTENS)};
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd;

    isolated = !unshare(CLONE_NEWNET) || !unshare(CLONE_NEWUSER | CLONE_NEWNET);
    if (!isolated) {
        fputs("no network of this process's own: the guest's is restricted\n", stderr);
        return 0;
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    check(fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &loopback));
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(!bind(fd, (void *)&here, sizeof here) && !listen(fd, 8));
    listening = fd;
    return 0;
}

static void device_open(struct worker *worker, uint8_t options)
{
    const char *error;

    spied = net_user;
    spied.receive = spy;
    memset(&heard, 0, sizeof heard);
    net = net_new(1, &spied);
    check(net);
    error = net_user_open(net, !isolated || options & 1, options & 2 ? 9000 : 0);
    if (error) {
        fprintf(stderr, "%s\nuser-mode networking needs libslirp (Debian: apt-get install libslirp0)\n", error);
        exit(1);
    }
    if (isolated && options & 4) {
        check(!net_user_forward(net, false, INADDR_LOOPBACK, FORWARDED, 0, 80));
        check(!net_user_forward(net, true, INADDR_LOOPBACK, FORWARDED, 0, 69));
    }
    net_begin(net, options & 8 ? 1 << VIRTIO_NET_F_MRG_RXBUF : 0);
    worker->device = &worker_net;
    worker->state = net;
    worker->n_queues = 3;
}

static void end(int *fd)
{
    struct linger now = {.l_onoff = 1}; /* no port waits */

    if (*fd >= 0) {
        setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(*fd);
    }
    *fd = -1;
}

static void device_close(struct worker *worker)
{
    net_user_close(net);
    free(net);
    end(&client);
    end(&datagrams);
    do
        end(&served);
    while (listening >= 0 && (served = accept(listening, NULL, NULL)) >= 0);
}

static uint32_t sum(const uint8_t *bytes, uint32_t size, uint32_t start)
{
    for (uint32_t i = 0; i < size; i++)
        start += i & 1 ? bytes[i] : (uint32_t)bytes[i] << 8;
    return start;
}

static uint16_t folded(uint32_t value)
{
    while (value >> 16)
        value = (value & 0xffff) + (value >> 16);
    return (uint16_t)~value;
}

/* The offset of a protocol's checksum in its header. */
static uint32_t checksum_at(uint8_t protocol)
{
    return protocol == TCP ? 16 : protocol == UDP ? 6 : 2;
}

static void address(struct guest *guest, uint8_t *at, uint8_t how)
{
    static const uint8_t known[][4] = {{10, 0, 2, 15}, {10, 0, 2, 2},   {10, 0, 2, 3}, {255, 255, 255, 255},
                                       {127, 0, 0, 1}, {10, 0, 2, 255}, {0, 0, 0, 0}};

    if (how % 8 < 7)
        memcpy(at, known[how % 8], 4);
    else
        put32(at, (uint32_t)guest_next(guest, 4));
}

static void address6(struct guest *guest, uint8_t *at, uint8_t how)
{
    static const char *const known[] = {"fec0::15", "fec0::2", "fec0::3", "ff02::1", "ff02::1:ff00:2", "fe80::2", "::"};

    if (how % 8 < 7)
        inet_pton(AF_INET6, known[how % 8], at);
    else
        for (int i = 0; i < 16; i += 8) {
            uint64_t half = guest_next(guest, 8);
            memcpy(at + i, &half, 8);
        }
}

/* A protocol's header at `at`, but for its checksum; returns its size. */
static uint32_t transport(struct guest *guest, uint8_t *at, uint8_t protocol, uint8_t how, uint32_t size)
{
    static const uint16_t ports[] = {LISTENS, 80, 53, 69, 67, 68, FORWARDED};
    uint8_t port = (uint8_t)guest_next(guest, 1);
    uint16_t to = port % 8 < 7 ? ports[port % 8] : (uint16_t)guest_next(guest, 2);

    memset(at, 0, 20);
    put16(at, how & 32 ? to : 1000 + (port >> 5));
    put16(at + 2, to);
    switch (protocol) {
    case TCP:
        put32(at + 4, (uint32_t)guest_next(guest, 2));
        put32(at + 8, (uint32_t)guest_next(guest, 2));
        at[12] = how & 64 ? (uint8_t)guest_next(guest, 1) : 5 << 4;
        at[13] = (uint8_t)guest_next(guest, 1);
        put16(at + 14, how & 128 ? (uint16_t)guest_next(guest, 2) : 0xffff);
        if (port & 64 && heard.from) { /* of the connection that was heard of */
            put16(at, heard.from);
            put16(at + 2, heard.to);
            put32(at + 4, heard.next);
            put32(at + 8, heard.expected);
            at[13] |= 16; /* ACK */
        }
        return 20;
    case UDP:
        put16(at + 4, how & 64 ? (uint16_t)guest_next(guest, 2) : (uint16_t)(8 + size));
        return 8;
    default:
        put32(at, (uint32_t)guest_next(guest, 2) << 16);
        put32(at + 4, how & 64 ? (uint32_t)guest_next(guest, 4) : 0);
        return 8;
    }
}

/* A frame of the guest's, whose parts fit together as far as the program lets them; returns its size. */
static uint32_t compose(struct guest *guest)
{
    uint8_t kind = (uint8_t)guest_next(guest, 1), how = (uint8_t)guest_next(guest, 1);
    static const uint8_t protocols[] = {TCP, UDP, ICMP, TCP};
    uint8_t *ip = frame + NET_ETHERNET, protocol = protocols[how % 4];
    uint32_t text = (uint32_t)guest_next(guest, how & 4 ? 2 : 1) % 1600, given = kind >> 4, header, size;

    memset(frame, 0, LONGEST);
    memcpy(frame, "\x52\x55\x0a\x00\x02\x02\x52\x54\x00\x12\x34\x56", 12);
    switch (kind % 4) {
    case 0: /* ARP, or any protocol */
        put16(frame + 12, how & 8 ? (uint16_t)guest_next(guest, 2) : 0x806);
        memcpy(ip, "\x00\x01\x08\x00\x06\x04\x00\x01\x52\x54\x00\x12\x34\x56", 14);
        ip[7] = 1 + (how >> 4 & 1);
        address(guest, ip + 14, (uint8_t)guest_next(guest, 1));
        address(guest, ip + 24, (uint8_t)guest_next(guest, 1));
        size = how & 32 ? (uint32_t)guest_next(guest, 1) : 28;
        break;
    case 1: /* IPv6 */
        protocol = protocol == ICMP ? ICMP6 : protocol;
        put16(frame + 12, 0x86dd);
        ip[0] = 6 << 4;
        address6(guest, ip + 8, (uint8_t)guest_next(guest, 1));
        address6(guest, ip + 24, (uint8_t)guest_next(guest, 1));
        header = transport(guest, ip + 40, protocol, how, text);
        size = 40 + header + text;
        put16(ip + 4, how & 16 ? (uint16_t)guest_next(guest, 2) : (uint16_t)(size - 40));
        ip[6] = how & 8 ? (uint8_t)guest_next(guest, 1) : protocol;
        ip[7] = 255;
        for (uint32_t i = 0; i < given; i++)
            ip[40 + header + i] = (uint8_t)guest_next(guest, 1);
        put16(ip + 40 + checksum_at(protocol), folded(sum(ip + 8, 32 + size - 40, (size - 40) + protocol)));
        break;
    default: /* IPv4 */
        put16(frame + 12, 0x800);
        ip[0] = how & 8 ? (uint8_t)guest_next(guest, 1) : 4 << 4 | 5;
        address(guest, ip + 12, kind & 8 ? (uint8_t)guest_next(guest, 1) : 0);
        address(guest, ip + 16, (uint8_t)guest_next(guest, 1));
        header = transport(guest, ip + 20, protocol, how, text);
        if (protocol == TCP && heard.from && get16(ip + 20) == heard.from)
            memcpy(ip + 12, heard.addresses, 8);
        size = 20 + header + text;
        put16(ip + 2, how & 16 ? (uint16_t)guest_next(guest, 2) : (uint16_t)size);
        put16(ip + 4, 1 + (how >> 7));
        put16(ip + 6, kind & 4 ? (uint16_t)guest_next(guest, 2) : 0); /* fragments */
        ip[8] = 64;
        ip[9] = protocol;
        for (uint32_t i = 0; i < given; i++)
            ip[20 + header + i] = (uint8_t)guest_next(guest, 1);
        put16(ip + 10, folded(sum(ip, (ip[0] & 15u) * 4, 0)));
        put16(ip + 20 + checksum_at(protocol),
              folded(protocol == ICMP ? sum(ip + 20, size - 20, 0)
                                      : sum(ip + 12, 8 + size - 20, (size - 20) + protocol)));
    }
    return NET_ETHERNET + size;
}

/* The driver sends a frame, and has room for one. */
static void send_frame(struct worker *worker, struct guest *guest)
{
    static const uint8_t none[NET_HEADER];
    uint32_t size = compose(guest);
    struct vring_desc out = {.addr = FRAME_AT, .len = NET_HEADER + size}, room = {.addr = ROOM_AT, .len = 0x1000};

    room.flags = VRING_DESC_F_WRITE;
    guest_write(guest, FRAME_AT, none, sizeof none);
    guest_write(guest, FRAME_AT + NET_HEADER, frame, size);
    guest_write(guest, guest_descriptors(1), &out, sizeof out);
    guest_write(guest, guest_descriptors(0), &room, sizeof room);
    guest_offer(guest, 0, 0);
    guest_offer(guest, 1, 0);
    serve(worker, 3);
}

/* A program of the host's at a forwarded port. */
static int reach(int type)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(FORWARDED)};
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);

    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(fd >= 0);
    if (connect(fd, (void *)&there, sizeof there) && errno != EINPROGRESS)
        end(&fd); /* nothing is forwarded */
    return fd;
}

static void device_outside(struct worker *worker, struct guest *guest)
{
    uint8_t how = (uint8_t)guest_next(guest, 1);
    int *peer = how & 8 ? &served : &client;

    switch (how % 8) {
    case 4: /* the worker rests, or the driver is another one */
        if (worker->device->rest)
            worker->device->rest(worker);
        if (how & 128) {
            net_reset(net);
            for (uint32_t queue = 0; queue < worker->n_queues; queue++)
                virtqueue_stop(worker->queues[queue]);
            net_begin(net, 0);
            for (uint32_t queue = 0; queue < worker->n_queues; queue++)
                guest_start(guest, queue, worker->queues[queue], false);
        }
        return;
    case 5: /* programs of the host */
        if (how & 128) {
            end(peer);
        } else if (how & 64) {
            if (datagrams < 0 && isolated)
                datagrams = reach(SOCK_DGRAM);
            if (datagrams >= 0 && send(datagrams, frame, how & 63, MSG_NOSIGNAL) < 0)
                end(&datagrams);
        } else if (isolated && !(how & 8) && client < 0) {
            client = reach(SOCK_STREAM);
        } else if (listening >= 0 && how & 8 && served < 0) {
            served = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
        } else if (*peer >= 0 && send(*peer, frame, (size_t)guest_next(guest, 2), MSG_NOSIGNAL) < 0) {
            if (errno != EAGAIN)
                end(peer);
        }
        return;
    case 6:
        if (*peer >= 0 && recv(*peer, frame, sizeof frame, 0) == 0)
            end(peer);
        return;
    default:
        send_frame(worker, guest);
    }
}

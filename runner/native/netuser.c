/* User-mode networking in this process, by libslirp 4: a router, a DHCP and a DNS server for the guest, whose packets
 * leave this host by its own sockets. The library is loaded when a spec asks for it. What is used of its interface
 * (libslirp.h) is declared here, as it is stable and a build needs no header then. */
#include "netuser.h"

#include "fragments.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SLIRP_IN = 1, SLIRP_OUT = 2, SLIRP_PRI = 4, SLIRP_ERR = 8, SLIRP_HUP = 16 };
enum { CONFIG_VERSION = 1 }; /* the oldest layout, which every libslirp 4 takes */
enum { WAITING = 4 << 20 }; /* bytes of frames that may wait for the driver */
enum { SOCKETS = 512 }; /* of the guest's connections at once: the process needs descriptors for others */
enum { TIMERS = 4, NOTHING_DUE = 1000 }; /* ms: the longest that it asks for, where it waits for nothing */

struct slirp;

struct slirp_config {
    uint32_t version;
    int restricted;
    bool in_enabled;
    struct in_addr vnetwork, vnetmask, vhost;
    bool in6_enabled;
    struct in6_addr vprefix_addr6;
    uint8_t vprefix_len;
    struct in6_addr vhost6;
    const char *vhostname, *tftp_server_name, *tftp_path, *bootfile;
    struct in_addr vdhcp_start, vnameserver;
    struct in6_addr vnameserver6;
    const char **vdnssearch;
    const char *vdomainname;
    size_t if_mtu, if_mru;
    bool disable_host_loopback, enable_emu;
};

struct slirp_callbacks {
    ssize_t (*send_packet)(const void *frame, size_t size, void *opaque);
    void (*guest_error)(const char *message, void *opaque);
    int64_t (*clock_get_ns)(void *opaque);
    void *(*timer_new)(void (*due)(void *), void *argument, void *opaque);
    void (*timer_free)(void *timer, void *opaque);
    void (*timer_mod)(void *timer, int64_t milliseconds, void *opaque);
    void (*register_poll_fd)(int fd, void *opaque);
    void (*unregister_poll_fd)(int fd, void *opaque);
    void (*notify)(void *opaque);
};

struct timer {
    void (*due)(void *argument);
    void *argument;
    int64_t at; /* ns, -1: not set */
};

struct user {
    struct net *net;
    struct slirp *slirp;
    struct slirp *(*new)(const struct slirp_config *config, const struct slirp_callbacks *callbacks, void *opaque);
    void (*cleanup)(struct slirp *slirp);
    void (*fill)(struct slirp *slirp, uint32_t *timeout, int (*add)(int fd, int events, void *opaque), void *opaque);
    void (*poll)(struct slirp *slirp, int error, int (*events)(int index, void *opaque), void *opaque);
    void (*input)(struct slirp *slirp, const uint8_t *frame, int size);
    int (*forward)(struct slirp *slirp, int udp, struct in_addr host, int host_port, struct in_addr guest, int port);
    struct timer timers[TIMERS];
    int64_t behind, rested; /* ns that its clock stood still; when it began to, 0: it goes */
    bool filled, objected;
    uint32_t sockets;
    uint32_t first, end; /* of the frames that wait for the driver, each after its size */
    uint8_t waiting[WAITING];
    /* libslirp 4.7 as Debian builds it breaks its own memory if the last fragment of a packet is the first that comes:
     * ip_reass() breaks C's rules on aliasing. It gets no fragments. */
    struct fragments fragments;
};

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static ssize_t send_packet(const void *frame, size_t size, void *opaque)
{
    struct user *user = opaque;
    uint32_t n = (uint32_t)size;

    if (size > NET_FRAME - NET_HEADER) {
        user->net->counts.overlong++;
        return -1;
    }
    if (user->end + sizeof n + n > WAITING) {
        memmove(user->waiting, user->waiting + user->first, user->end - user->first);
        user->end -= user->first;
        user->first = 0;
    }
    if (user->end + sizeof n + n > WAITING) {
        user->net->counts.crowded++;
        return -1;
    }
    memcpy(user->waiting + user->end, &n, sizeof n);
    memcpy(user->waiting + user->end + sizeof n, frame, n);
    user->end += sizeof n + n;
    user->net->pair[0].ready = true;
    return (ssize_t)size;
}

static void guest_error(const char *message, void *opaque)
{
    struct user *user = opaque;

    user->objected = true;
}

static int64_t clock_get_ns(void *opaque)
{
    const struct user *user = opaque;

    return (user->rested ? user->rested : now()) - user->behind;
}

static void *timer_new(void (*due)(void *), void *argument, void *opaque)
{
    struct user *user = opaque;

    for (int i = 0; i < TIMERS; i++)
        if (!user->timers[i].due) {
            user->timers[i] = (struct timer){due, argument, -1};
            return &user->timers[i];
        }
    return NULL; /* libslirp 4 has one */
}

static void timer_free(void *timer, void *opaque)
{
    if (timer)
        *(struct timer *)timer = (struct timer){0};
}

static void timer_mod(void *timer, int64_t milliseconds, void *opaque)
{
    if (timer)
        ((struct timer *)timer)->at = milliseconds * 1000000;
}

static void opened(int fd, void *opaque)
{
    struct user *user = opaque;

    user->sockets++;
}

static void closed(int fd, void *opaque)
{
    struct user *user = opaque;

    if (user->sockets)
        user->sockets--;
}

static void ignore(void *opaque)
{
}

static const struct slirp_callbacks callbacks = {
    send_packet, guest_error, clock_get_ns, timer_new, timer_free, timer_mod, opened, closed, ignore,
};

static const char *load(struct user *user)
{
    void *library = dlopen("libslirp.so.0", RTLD_NOW | RTLD_LOCAL);
    struct {
        const char *name;
        void *function;
    } wanted[] = {
        {"slirp_new", &user->new},           {"slirp_cleanup", &user->cleanup}, {"slirp_pollfds_fill", &user->fill},
        {"slirp_pollfds_poll", &user->poll}, {"slirp_input", &user->input},     {"slirp_add_hostfwd", &user->forward},
    };

    for (uint32_t i = 0; library && i < sizeof wanted / sizeof wanted[0]; i++) {
        void *found = dlsym(library, wanted[i].name);
        if (!found)
            return dlerror();
        memcpy(wanted[i].function, &found, sizeof found);
    }
    return library ? NULL : dlerror();
}

const char *net_user_open(struct net *net, bool restricted, uint32_t mtu)
{
    struct user *user = calloc(1, sizeof *user);
    struct slirp_config config = {
        .version = CONFIG_VERSION,
        .restricted = restricted,
        .in_enabled = true,
        .in6_enabled = true,
        .vprefix_len = 64,
        .if_mtu = mtu,
        .if_mru = mtu,
    };
    const char *error;

    if (!user)
        return "no memory";
    user->net = net;
    error = load(user);
    if (error) {
        free(user);
        return error;
    }
    inet_pton(AF_INET, "10.0.2.0", &config.vnetwork);
    inet_pton(AF_INET, "255.255.255.0", &config.vnetmask);
    inet_pton(AF_INET, "10.0.2.2", &config.vhost);
    inet_pton(AF_INET, "10.0.2.3", &config.vnameserver);
    inet_pton(AF_INET, "10.0.2.15", &config.vdhcp_start);
    inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &config.vhost6);
    inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
    user->rested = now();
    user->slirp = user->new(&config, &callbacks, user);
    if (!user->slirp) {
        free(user);
        return "the library does not take its configuration";
    }
    net->link = user;
    return NULL;
}

int net_user_forward(struct net *net, bool udp, uint32_t host, uint16_t host_port, uint32_t guest, uint16_t port)
{
    struct user *user = net->link;
    struct in_addr from = {htonl(host)}, to = {htonl(guest)};

    errno = 0;
    return user->forward(user->slirp, udp, from, host_port, to, port) < 0 ? (errno ? errno : EINVAL) : 0;
}

void net_user_close(struct net *net)
{
    struct user *user = net->link;

    if (!user)
        return;
    net->link = NULL;
    user->cleanup(user->slirp);
    free(user);
}

/* Whether libslirp opens a socket for a frame that it gets: it is of no connection that there is. */
static bool opens(const uint8_t *frame, uint32_t size)
{
    enum { ETHERNET = 14, IPV4_HEADER = 20, IPV6_HEADER = 40 };
    enum { FLAGS = 13, FIN = 1, SYN = 2, RST = 4, ACK = 16, URG = 32 };
    uint32_t protocol, at;

    if (size >= ETHERNET + IPV4_HEADER && frame[12] == 8 && frame[13] == 0) {
        protocol = frame[23];
        at = ETHERNET + (frame[14] & 15) * 4 + FLAGS;
    } else if (size >= ETHERNET + IPV6_HEADER && frame[12] == 0x86 && frame[13] == 0xdd) {
        protocol = frame[20];
        at = ETHERNET + IPV6_HEADER + FLAGS;
    } else {
        return false;
    }
    if (protocol == IPPROTO_TCP)
        return at < size && (frame[at] & (FIN | SYN | RST | ACK | URG)) == SYN;
    return protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP;
}

static int user_send(struct net *net, uint32_t pair, const struct iovec *ranges, uint32_t n)
{
    struct user *user = net->link;
    uint32_t size = 0;
    const uint8_t *frame;

    for (uint32_t i = 1; i < n; i++) { /* once: the guest may change it meanwhile */
        memcpy(net->scratch + size, ranges[i].iov_base, ranges[i].iov_len);
        size += (uint32_t)ranges[i].iov_len;
    }
    user->objected = false;
    frame = fragments_join(&user->fragments, net->scratch, &size, clock_get_ns(user));
    if (frame && user->sockets >= SOCKETS && opens(frame, size))
        return EMFILE;
    if (frame)
        user->input(user->slirp, frame, (int)size);
    return user->objected || (!frame && !size) ? EPROTO : 0;
}

static uint32_t user_receive(struct net *net, uint32_t pair, uint8_t *frame)
{
    struct user *user = net->link;
    uint32_t n;

    if (user->first == user->end)
        return 0;
    memcpy(&n, user->waiting + user->first, sizeof n);
    memset(frame, 0, NET_HEADER);
    memcpy(frame + NET_HEADER, user->waiting + user->first + sizeof n, n);
    user->first += sizeof n + n;
    if (user->first == user->end)
        user->first = user->end = 0;
    return NET_HEADER + n;
}

static int found(int index, void *opaque)
{
    struct worker *worker = opaque;
    short events = index >= 0 && (uint32_t)index < worker->n_fds ? worker->fds[index].revents : 0;

    return (events & POLLIN ? SLIRP_IN : 0) | (events & POLLOUT ? SLIRP_OUT : 0) | (events & POLLPRI ? SLIRP_PRI : 0) |
           (events & POLLERR ? SLIRP_ERR : 0) | (events & POLLHUP ? SLIRP_HUP : 0);
}

static uint64_t user_polled(struct net *net, struct worker *worker)
{
    struct user *user = net->link;

    if (user->rested)
        user->behind += now() - user->rested;
    user->rested = 0;
    for (int i = 0; i < TIMERS; i++) {
        struct timer *timer = &user->timers[i];
        if (timer->due && timer->at >= 0 && timer->at <= clock_get_ns(user)) {
            timer->at = -1;
            timer->due(timer->argument);
        }
    }
    if (user->filled)
        user->poll(user->slirp, 0, found, worker);
    user->filled = false;
    return 0;
}

static int add(int fd, int events, void *opaque)
{
    struct worker *worker = opaque;
    short wanted = (short)((events & SLIRP_IN ? POLLIN : 0) | (events & SLIRP_OUT ? POLLOUT : 0) |
                           (events & SLIRP_PRI ? POLLPRI : 0));

    if (worker->n_fds == WORKER_FDS - 1) /* one is a relay's */
        return -1; /* it waits until others are done */
    worker->fds[worker->n_fds] = (struct pollfd){.fd = fd, .events = wanted};
    return (int)worker->n_fds++;
}

static void user_poll(struct net *net, struct worker *worker)
{
    struct user *user = net->link;
    uint32_t timeout = UINT32_MAX;

    worker->n_fds = 0;
    worker->timeout = -1;
    if (user->end - user->first > WAITING / 2)
        return; /* the driver has no buffers: what comes from outside waits there */
    user->fill(user->slirp, &timeout, add, worker);
    user->filled = true;
    if (timeout != UINT32_MAX && timeout != NOTHING_DUE)
        worker->timeout = (int)timeout;
    for (int i = 0; i < TIMERS; i++)
        if (user->timers[i].due && user->timers[i].at >= 0) {
            int64_t left = (user->timers[i].at - clock_get_ns(user)) / 1000000 + 1;
            if (left < 0)
                left = 0;
            if (left < INT32_MAX && (worker->timeout < 0 || left < worker->timeout))
                worker->timeout = (int)left;
        }
}

static void user_rest(struct net *net)
{
    struct user *user = net->link;

    if (!user->rested)
        user->rested = now();
}

static uint64_t user_forget(struct net *net)
{
    struct user *user = net->link;
    uint64_t frames = 0;
    uint32_t n;

    for (; user->first < user->end; frames++) {
        memcpy(&n, user->waiting + user->first, sizeof n);
        user->first += sizeof n + n;
    }
    user->first = user->end = 0;
    return frames;
}

struct net_backend net_user = {
    .send = user_send,
    .receive = user_receive,
    .polled = user_polled,
    .poll = user_poll,
    .rest = user_rest,
    .forget = user_forget,
};

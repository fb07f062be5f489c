/* The socket device (virtio 1.2, 5.10): streams between the guest and Unix sockets of the host, multiplexed over two
 * queues. Only the device's worker uses it while that runs. */
#ifndef VMRUN_VSOCK_H
#define VMRUN_VSOCK_H

#include "worker.h"

#include <linux/virtio_vsock.h>

enum {
    VSOCK_RECEIVE, /* queues (5.10.2) */
    VSOCK_TRANSMIT,
    VSOCK_EVENT,
    VSOCK_CONNECTIONS = 512, /* at once */
    VSOCK_BUFFER = 256 << 10, /* bytes of a connection that its socket does not take yet: the guest's credit */
    VSOCK_RESETS = 256, /* packets to answer by a reset; more are not taken until the driver has room for those */
    VSOCK_PATH = 96, /* leaves room in a Unix address for a port */
};

struct vsock_connection;

struct vsock {
    uint64_t cid; /* the guest's */
    int listener; /* the host connects here: a Unix socket that listens, and does not block */
    int events; /* epoll, edge-triggered, of the listener and the connections */
    char path[VSOCK_PATH]; /* the guest's connection to a port goes to the Unix socket of this path, `_` and the port */
    uint32_t announce; /* tell the driver that its connections are gone */
    uint32_t port; /* of the host's next connection */
    bool waiting; /* the listener may have connections to accept */
    int retry; /* ms until it is looked at again, -1: once there are events */
    uint32_t turn; /* the connection that is served first */
    uint32_t n_connections, n_resets;
    struct vsock_connection *connections[VSOCK_CONNECTIONS];
    struct virtio_vsock_hdr resets[VSOCK_RESETS];
};

/* Watch the listener, which the caller has set. Returns an errno. */
int vsock_open(struct vsock *vsock);
/* Forget all connections, and close their sockets. The worker is held. */
void vsock_reset(struct vsock *vsock);
/* The same, and stop watching. */
void vsock_close(struct vsock *vsock);

extern struct worker_device vsock_device;

#endif

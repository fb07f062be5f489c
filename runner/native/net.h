/* The queues of a virtio-net device (virtio 1.2, 5.1), served between the driver and what is behind the device on this
 * host: its backend.
 *
 * Every frame has a header of 12 bytes (5.1.6). The driver's is copied once and checked; what is wrong with a frame
 * costs that frame, and is counted. A frame for the driver is read only when the driver has buffers: until then it
 * stays in the backend. */
#ifndef VMRUN_NET_H
#define VMRUN_NET_H

#include "capture.h"
#include "worker.h"

enum {
    NET_PAIRS = 16, /* of queues, at most */
    NET_HEADER = 12, /* struct virtio_net_hdr_mrg_rxbuf */
    NET_ETHERNET = 14, /* an Ethernet header: the shortest frame */
    NET_FRAME = NET_HEADER + (68 << 10), /* the longest, with its header: more than 64 KiB of segments to be cut */
};

struct net;

/* What is behind the device. All functions run in the worker's thread. */
struct net_backend {
    bool whole; /* a frame of the driver's is copied once, to one range after its header */
    /* Send a frame: ranges of which the first is its header. An errno: EAGAIN, keep it until there is room. */
    int (*send)(struct net *net, uint32_t pair, const struct iovec *ranges, uint32_t n);
    /* The next frame, to `frame`, which has room for NET_FRAME bytes. Returns its size with its header, 0: none. */
    uint32_t (*receive)(struct net *net, uint32_t pair, uint8_t *frame);
    /* Before the queues are served: take note of what poll(2) has found; returns the queues to serve for that, as bits.
     * After they were: ask for what is to be polled. */
    uint64_t (*polled)(struct net *net, struct worker *worker);
    void (*poll)(struct net *net, struct worker *worker);
    /* So many pairs of queues are used from now on. NULL: it does not matter. */
    void (*use)(struct net *net, uint32_t pairs);
    /* The worker rests. NULL: nothing is to be done. */
    void (*rest)(struct net *net);
    /* Drop the frames that wait for the driver, and return their number. NULL: none do. */
    uint64_t (*forget)(struct net *net);
};

/* A pair of queues: 2 * n for frames to the driver, 2 * n + 1 for those from it (5.1.2). */
struct net_pair {
    int fd; /* the backend's, -1: none, or its other side is gone */
    bool ready; /* poll(2) has found frames */
    bool buffers; /* the driver has buffers, as far as is known */
    bool full; /* a frame of the driver's waits for room in the backend */
    uint32_t size; /* of a frame that waits for buffers of the driver's, 0: none does */
    uint8_t frame[NET_FRAME];
};

/* vmspec/trace/frames.py says what each is. */
struct net_counts {
    uint64_t received, sent; /* frames, from and to the backend */
    /* Frames that were dropped. Of the driver's: */
    uint64_t malformed;
    uint64_t refused; /* by the backend */
    /* For the driver: */
    uint64_t overlong; /* the backend is given up */
    uint64_t unfit; /* too long for its buffers, or as it has not agreed to */
    uint64_t crowded; /* it had no buffers, and no more can wait */
    uint64_t forgotten; /* it was reset while they waited */
};

struct net {
    const struct net_backend *backend;
    uint32_t n_pairs; /* that the driver may use */
    uint32_t pairs; /* that it uses (5.1.6.5.5) */
    uint64_t features; /* that the driver has accepted */
    bool up; /* there is another side */
    void *link; /* the backend's own */
    struct capture *capture; /* of the frames to and from the backend, NULL: none */
    struct net_counts counts;
    uint32_t given; /* size of a frame that the caller has put into the first pair (netrelay.h), 0: none */
    uint8_t scratch[NET_FRAME]; /* a frame in one piece */
    struct net_pair pair[];
};

/* The device, with its backend; NULL: no memory. Its descriptors are -1. */
struct net *net_new(uint32_t n_pairs, const struct net_backend *backend);
/* A pair's descriptor, which does not block; it stays the caller's. */
void net_attach(struct net *net, uint32_t pair, int fd);
/* The driver is ready, and has accepted these features. The worker rests. */
void net_begin(struct net *net, uint64_t features);
/* Forget the driver. The worker rests. */
void net_reset(struct net *net);
/* The driver uses so many pairs. The worker rests, or calls it itself. */
void net_use(struct net *net, uint32_t pairs);

extern struct worker_device worker_net;
/* Descriptors that take and give a frame with its header at a time: a tap device (Linux, tuntap.rst) with IFF_VNET_HDR,
 * one for each pair; or a socket that keeps the boundaries of messages. */
extern struct net_backend net_tap;

#endif

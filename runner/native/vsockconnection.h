/* The connections of a socket device: what each side has said, and its credit. Only the device's worker uses them. */
#ifndef VMRUN_VSOCKCONNECTION_H
#define VMRUN_VSOCKCONNECTION_H

#include "vsock.h"

enum {
    HOST = 2, /* the host's CID (5.10.4) */
    HEADER = sizeof(struct virtio_vsock_hdr),
    BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND,
};

enum vsock_state {
    GREETED, /* the host has not said yet which port it wants */
    REQUESTED, /* the guest has not answered yet */
    OPEN,
    ENDED, /* for the guest; its socket may still have to take what the guest has sent */
};

/* Packets that the driver is to get as soon as it has room. */
enum { RESET = 1, REQUEST = 2, RESPONSE = 4, SHUTDOWN = 8, CREDIT = 16 };

struct vsock_connection {
    int fd; /* -1: closed */
    enum vsock_state state;
    uint32_t guest_port, host_port;
    uint8_t owed;
    uint8_t guest_shut, host_shut; /* what each side does no more, by VIRTIO_VSOCK_SHUTDOWN_* */
    bool readable, writable; /* the socket, as far as is known */
    bool ending; /* behind what it has to read is its end */
    uint32_t peer_buffer, peer_forwarded, sent; /* bytes to the guest: its credit (5.10.6.3) */
    uint32_t received, forwarded, told; /* bytes from the guest; passed on to the socket; credited */
    uint8_t *buffer; /* of VSOCK_BUFFER bytes, NULL: none was needed */
    uint32_t at, n; /* bytes that wait in it for the socket */
};

/* A new connection with a socket, which is the connection's from now on. NULL: there can be none. */
struct vsock_connection *vsock_add(struct vsock *vsock, int fd, enum vsock_state state);
/* End it for both sides, and let the guest know, or not. */
void vsock_end(struct vsock_connection *connection, bool tell);
/* The guest's connection between two ports, NULL: none. One that ended is there until the guest knows. */
struct vsock_connection *vsock_find(struct vsock *vsock, uint32_t guest_port, uint32_t host_port);
/* Free the connections that are done. */
void vsock_sweep(struct vsock *vsock);
/* The host receives or sends no more. */
void vsock_close_host(struct vsock_connection *connection, uint8_t flags);
/* What the guest says of its buffer. False: it has passed on more than it got. */
bool vsock_credit(struct vsock_connection *connection, const struct virtio_vsock_hdr *header);
/* How many bytes the guest takes now. */
uint32_t vsock_allowance(const struct vsock_connection *connection);

#endif

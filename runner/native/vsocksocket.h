/* The host's side of a socket device: the Unix sockets, and the bytes that go between them and the guest's buffers. */
#ifndef VMRUN_VSOCKSOCKET_H
#define VMRUN_VSOCKSOCKET_H

#include "vsockconnection.h"

/* Bytes have left for the socket, or nobody wants them any more. */
void vsock_settle(struct vsock_connection *connection);
/* Pass on what a packet has behind its header. False: it has more than the guest's credit. */
bool vsock_pass_on(struct vsock_connection *connection, const struct virtqueue_chain *chain, uint32_t size);
/* Read from the socket into a chain, behind the header. Returns the bytes; 0: see what is owed. */
uint32_t vsock_pull(struct vsock_connection *connection, const struct virtqueue_chain *chain);
/* The guest opens a connection. */
bool vsock_connect(struct vsock *vsock, const struct virtio_vsock_hdr *header);
/* The guest takes a connection of the host's. */
bool vsock_answer(struct vsock_connection *connection);
/* See what the sockets have to read and take, and who connects. */
void vsock_look(struct vsock *vsock);

#endif

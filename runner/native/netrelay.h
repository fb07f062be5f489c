/* A network device of a machine with virtual time, and its backend, which has a thread of its own. The device is served
 * in the vCPU's thread and never waits for the host: a frame of the driver's goes into a socket, or is lost if that is
 * full, as on a wire. A frame for the driver comes when the caller says so, who has recorded it. */
#ifndef VMRUN_NETRELAY_H
#define VMRUN_NETRELAY_H

#include "net.h"

/* Bytes of a frame, with its header, that the device takes now: 0 while one waits or there is no driver. */
uint32_t net_relay_room(const struct net *net);
/* Give the device a frame from outside, which waits for buffers of the driver's; the queue is served afterwards. False:
 * it has no room, and the frame is lost. */
bool net_relay_give(struct net *net, const void *frame, uint32_t size);
/* The frame that waits for the driver; NULL: none does. */
const uint8_t *net_relay_waiting(const struct net *net, uint32_t *size);

/* Start the thread between a backend and the other end of the device's socket, which keeps the boundaries of messages.
 * Each is a frame with its header. `trouble` is an eventfd, written when the capture of the backend has failed. The
 * descriptors stay the caller's. Returns an errno. */
int net_relay_open(struct net *net, struct net *backend, int fd, int trouble);
/* Return when all that the device has sent is in the backend, as far as that takes it. The thread then goes on. */
void net_relay_settle(struct net *net);
/* The same, and end the thread. A second call does nothing. */
void net_relay_close(struct net *net);

/* The device's own backend. Its first descriptor is its end of the socket; -1: what it sends goes nowhere. */
extern struct net_backend net_relay;

#endif

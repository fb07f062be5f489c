/* A Unix stream socket behind a network device. Each frame on it follows its length, 32 bits in network order: what
 * QEMU's "-netdev stream" and passt speak. */
#ifndef VMRUN_NETSTREAM_H
#define VMRUN_NETSTREAM_H

#include "net.h"

/* Use a connected socket, or a `listening` one, which takes one peer after the other. Neither blocks. The device has it
 * from now on. Returns an errno. */
int net_stream_open(struct net *net, int fd, bool listening);
/* Close what is open. The worker has ended. A second call does nothing. */
void net_stream_close(struct net *net);

extern struct net_backend net_stream;

#endif

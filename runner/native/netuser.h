/* User-mode networking behind a network device. */
#ifndef VMRUN_NETUSER_H
#define VMRUN_NETUSER_H

#include "net.h"

/* Load libslirp and connect the device to it; returns what failed, NULL: nothing. The guest's network is 10.0.2.0/24
 * and fec0::/64. `restricted`: nothing leaves it, but to what forwards come from. `mtu` 0: the library's. */
const char *net_user_open(struct net *net, bool restricted, uint32_t mtu);
/* Pass on what comes to a port of this host to one of the guest's (IPv4 addresses in the host's byte order; 0: any of
 * the host's, the guest's first lease). Returns an errno. */
int net_user_forward(struct net *net, bool udp, uint32_t host, uint16_t host_port, uint32_t guest, uint16_t port);
/* End its connections. The worker has ended. A second call does nothing. */
void net_user_close(struct net *net);

extern struct net_backend net_user;

#endif

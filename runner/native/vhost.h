/* A device whose queues another process serves (vhost-user): the thread passes on that process's interrupts. Python
 * sets the process up, and holds the thread while the process leaves the queues alone. */
#ifndef VMRUN_VHOST_H
#define VMRUN_VHOST_H

#include "worker.h"

struct vhost {
    int kicks[WORKER_QUEUES]; /* eventfds by which vCPUs notify the process, by queue */
    int calls[WORKER_QUEUES]; /* eventfds by which it reports used chains; they do not block */
    int events; /* epoll, edge-triggered: something for Python, such as the end of the process */
};

extern struct worker_device vhost_device;

#endif

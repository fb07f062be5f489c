#include "vhost.h"

#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Interrupt the driver of a queue if the process has asked for that. */
static void pass_on(struct worker *worker, const struct vhost *vhost, uint32_t queue)
{
    uint64_t count;

    if (read(vhost->calls[queue], &count, sizeof count) == sizeof count)
        worker_interrupt(worker, queue);
}

static void serve(struct worker *worker, uint64_t told)
{
    struct vhost *vhost = worker->state;
    struct epoll_event event;
    uint64_t one = 1;

    /* vCPUs notify the process themselves, except for what KVM rings. */
    for (uint32_t i = 0; i < worker->n_queues; i++)
        if (told >> i & 1 && write(vhost->kicks[i], &one, sizeof one) < 0)
            continue; /* a full counter: it is notified already */
    for (uint32_t i = 0; i + 1 < worker->n_fds; i++)
        if (worker->fds[i].revents)
            pass_on(worker, vhost, i);
    if (worker->n_fds && worker->fds[worker->n_queues].revents) {
        while (epoll_wait(vhost->events, &event, 1, 0) > 0)
            ;
        worker_trouble(worker);
    }
    for (uint32_t i = 0; i < worker->n_queues; i++)
        worker->fds[i] = (struct pollfd){.fd = vhost->calls[i], .events = POLLIN};
    worker->fds[worker->n_queues] = (struct pollfd){.fd = vhost->events, .events = POLLIN};
    worker->n_fds = worker->n_queues + 1;
}

/* The process has stopped: report its used chains to the driver before the queues change. */
static void rest(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->n_queues; i++)
        pass_on(worker, worker->state, i);
}

struct worker_device vhost_device = {.serve = serve, .rest = rest};

/* The thread that serves the queues of one virtio device without Python.
 *
 * A worker runs or is held. While it runs, its queues are its own. Python holds it for all that changes a queue:
 * set-up, reset, save. A worker that is held rests: nothing is in flight, and it leaves the guest's memory alone. */
#ifndef VMRUN_WORKER_H
#define VMRUN_WORKER_H

#include "bus.h"
#include "requests.h"
#include "virtqueue.h"

#include <poll.h>
#include <pthread.h>

enum { WORKER_QUEUES = BUS_DOORS, WORKER_FDS = 1024 };

/* How the driver of a queue is notified of used chains, on any transport. */
struct worker_interrupt {
    uint64_t *status; /* gets `cause` first; NULL: none */
    uint64_t cause;
    int event; /* eventfd of KVM's: an edge or a message; -1: none */
    uint32_t masked; /* not now: set `pending` instead */
    uint32_t pending;
};

struct worker;

/* What a kind of device does. Both functions run in the worker's thread. */
struct worker_device {
    /* Serve the queues that the driver has notified (bits), and the device's own descriptors as poll(2) left them. It
     * may take, answer and put back chains of any queue, and change what is polled. It never blocks. */
    void (*serve)(struct worker *worker, uint64_t told);
    /* End what is in flight: no chain is put back afterwards. NULL: nothing ever is. */
    void (*rest)(struct worker *worker);
};

struct worker {
    struct bus_bell bell; /* vCPUs ring it with a queue's number */
    const struct worker_device *device;
    void *state; /* the device's own */
    uint32_t n_queues;
    struct virtqueue *queues[WORKER_QUEUES];
    struct worker_interrupt interrupts[WORKER_QUEUES];
    struct requests *requests; /* where chains are recorded that are given back */
    uint32_t index; /* of the device in the plan */
    uint8_t kinds[WORKER_QUEUES]; /* of each queue's requests, enum request_kind, unless the device sets another one */
    uint32_t n_fds;
    struct pollfd fds[WORKER_FDS]; /* the device's own */
    int timeout; /* ms until the device is to be served anyway, -1: never */
    uint64_t again; /* bits: queues to serve again at once, without a notification */
    bool alone; /* without a thread: see worker_serve() */
    uint64_t moved; /* bytes of the requests that were given back */
    bool unnamed; /* KVM rings the bell itself (KVM_IOEVENTFD), and does not say for which queue */
    int trouble; /* eventfd: a queue has a fault, or the device has something to tell Python */
    struct virtqueue_chain chain; /* for a device that answers one after the other */
    /* What follows is the worker's own. */
    uint64_t troubled; /* bits: queues whose fault was reported */
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    uint32_t holds;
    bool resting, ending, ended, started;
};

/* Start the thread, held once. Returns an errno. The caller has set the eventfds, the device, its state and queues. */
int worker_start(struct worker *worker);
/* Hold it, and return when it rests. Each needs a release. */
void worker_hold(struct worker *worker);
void worker_release(struct worker *worker);
/* End the thread. What the driver has notified is served first, for so many milliseconds at most: a hostile driver has
 * always more. A second call does nothing. */
void worker_end(struct worker *worker, uint32_t patience);
/* Of a worker that is `alone`, and was not started: serve once what was notified, in the calling thread, which then
 * interrupts the drivers. Nothing is in flight afterwards; `again` may have queues for another call. */
void worker_serve(struct worker *worker);

/* For `serve`. Take the next chain: false, there is none, or the queue does not run or has a fault. */
bool worker_take(struct worker *worker, uint32_t queue, struct virtqueue_chain *chain);
/* Record the request, and give the chain back to the driver with `written` bytes. */
void worker_put(struct worker *worker, uint32_t queue, struct virtqueue_chain *chain, uint32_t written);
/* Let the driver see what was put back since virtqueue_gather(); of a worker that is `alone`, its caller does. */
void worker_publish(struct worker *worker, uint32_t queue);
/* Interrupt the driver if it wants to know of what was put back since the last call. */
void worker_tell(struct worker *worker, uint32_t queue);
/* Interrupt the driver of a queue. */
void worker_interrupt(struct worker *worker, uint32_t queue);
/* Ask the driver to tell of the next chain; true: there is one, which it may not tell of. */
bool worker_wait(struct worker *worker, uint32_t queue);

/* Serve the device soon, without a notification; any thread may call it. */
void worker_wake(struct worker *worker);
/* Start a further thread for the device, with the worker's signals. Returns an errno. */
int worker_thread(pthread_t *thread, void *(*function)(void *), void *argument);
/* Break a queue, whose device has found a fault in a chain that it took; no further one is taken. */
void worker_break(struct worker *worker, uint32_t queue, enum virtqueue_fault fault);
/* Have Python look at the device. */
void worker_trouble(struct worker *worker);

/* Answer each chain of a queue: as many as it is long at most, then the other queues have their turn. `answer` returns
 * the bytes that it has written to the chain. */
void worker_answer(struct worker *worker, uint32_t queue,
                   uint32_t (*answer)(struct worker *worker, uint32_t queue, struct virtqueue_chain *chain));

/* The transport masks a queue's interrupt, or unmasks it: what was pending is sent then. The worker may run. */
void worker_mask(struct worker *worker, uint32_t queue, bool masked);

/* A device for tests: it answers each chain with what it reads from it, to as many bytes as there is room for. */
extern struct worker_device worker_echo;

#endif

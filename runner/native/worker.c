#define _GNU_SOURCE /* pthread_setname_np */
#include "worker.h"

#include "atomic.h"
#include "signals.h"
#include "tsc.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 16 }; /* chains between two looks whether the driver wants an interrupt */

static void drain(int event)
{
    uint64_t count;

    if (read(event, &count, sizeof count) < 0)
        return; /* another look was quicker */
}

static void ring(int event)
{
    uint64_t one = 1;

    if (write(event, &one, sizeof one) < 0)
        return; /* a full counter: whoever waits for it is woken already */
}

/* The queues that the driver has notified; all of them if KVM has `rung`, because KVM does not name the queue. */
static uint64_t told(struct worker *worker, bool rung)
{
    uint64_t bits = __atomic_exchange_n(&worker->bell.rung, 0, __ATOMIC_SEQ_CST);

    for (uint32_t i = 0; i < worker->n_queues; i++)
        if (bits >> i & 1)
            virtqueue_tell(worker->queues[i], __atomic_exchange_n(&worker->bell.when[i], 0, __ATOMIC_RELAXED));
    return rung && worker->unnamed ? UINT64_MAX >> (64 - worker->n_queues) : bits;
}

static void rest(struct worker *worker)
{
    if (worker->device->rest)
        worker->device->rest(worker);
}

/* Serve what the driver has notified before the end, in turns, unless it is held meanwhile; a rest may make room for
 * more. */
static void finish(struct worker *worker)
{
    uint64_t left = told(worker, true) | worker->again;

    for (uint32_t i = 0; i < worker->n_fds; i++)
        worker->fds[i].revents = 0;
    for (uint32_t turns = VIRTQUEUE_SIZE; left && turns && !LOAD(worker->holds); turns--) {
        worker->again = 0;
        worker->device->serve(worker, left);
        rest(worker);
        left = told(worker, false) | worker->again;
    }
}

/* Rest while the worker is held; false: it is to end. It ends after a rest that began when that was known: after its
 * release, and until the end, there may be something new to do. One that is held then leaves the guest alone. */
static bool goes_on(struct worker *worker)
{
    bool ending = LOAD(worker->ending);

    if (!LOAD(worker->holds)) {
        if (!ending)
            return true;
        finish(worker);
    }
    rest(worker);
    pthread_mutex_lock(&worker->lock);
    worker->resting = true;
    pthread_cond_broadcast(&worker->changed);
    while (worker->holds && !worker->ending)
        pthread_cond_wait(&worker->changed, &worker->lock);
    worker->resting = worker->ended = ending; /* one that has ended rests for ever */
    if (ending)
        pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    worker->troubled = 0;
    return !ending;
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct pollfd fds[1 + WORKER_FDS];

    while (goes_on(worker)) {
        uint32_t n = worker->n_fds;
        uint64_t again = worker->again;

        fds[0] = (struct pollfd){.fd = worker->bell.event, .events = POLLIN};
        for (uint32_t i = 0; i < n; i++)
            fds[1 + i] = worker->fds[i];
        if (poll(fds, 1 + n, again ? 0 : worker->timeout) < 0)
            continue; /* only signals and want of memory end it so */
        if (fds[0].revents)
            drain(worker->bell.event); /* before told(): see bus_ring() */
        if (LOAD(worker->holds)) /* the release rings */
            continue;
        for (uint32_t i = 0; i < n; i++)
            worker->fds[i].revents = fds[1 + i].revents;
        worker->again = 0;
        worker->device->serve(worker, told(worker, fds[0].revents) | again);
    }
    return NULL;
}

int worker_thread(pthread_t *thread, void *(*function)(void *), void *argument)
{
    sigset_t blocked = signals_blockable(), before;
    int error;

    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    error = pthread_create(thread, NULL, function, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        pthread_setname_np(*thread, "virtio");
    return error;
}

int worker_start(struct worker *worker)
{
    pthread_condattr_t monotonic;
    int error;

    pthread_mutex_init(&worker->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    worker->holds = 1;
    worker->resting = worker->ending = worker->ended = false;
    error = worker_thread(&worker->thread, run, worker);
    worker->started = !error;
    return error;
}

void worker_hold(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    STORE(worker->holds, worker->holds + 1);
    ring(worker->bell.event);
    while (!worker->resting)
        pthread_cond_wait(&worker->changed, &worker->lock);
    pthread_mutex_unlock(&worker->lock);
}

void worker_release(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    STORE(worker->holds, worker->holds - 1);
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    ring(worker->bell.event); /* the driver may have notified a queue in the meantime */
}

void worker_end(struct worker *worker, uint32_t patience)
{
    struct timespec latest;

    if (!worker->started)
        return;
    clock_gettime(CLOCK_MONOTONIC, &latest);
    latest.tv_sec += patience / 1000;
    latest.tv_nsec += patience % 1000 * 1000000L;
    if (latest.tv_nsec >= 1000000000L) {
        latest.tv_sec++;
        latest.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&worker->lock);
    STORE(worker->ending, true);
    pthread_cond_broadcast(&worker->changed);
    ring(worker->bell.event);
    while (!worker->ended && pthread_cond_timedwait(&worker->changed, &worker->lock, &latest) != ETIMEDOUT)
        ;
    STORE(worker->holds, worker->holds + 1); /* no further chain is taken */
    pthread_mutex_unlock(&worker->lock);
    pthread_join(worker->thread, NULL);
    worker->started = false;
}

void worker_serve(struct worker *worker)
{
    uint64_t again = worker->again;

    worker->again = 0;
    worker->device->serve(worker, told(worker, false) | again);
}

void worker_wake(struct worker *worker)
{
    ring(worker->bell.event);
}

void worker_trouble(struct worker *worker)
{
    ring(worker->trouble);
}

/* Have Python look at a queue's fault, once. */
static void report(struct worker *worker, uint32_t queue)
{
    if (worker->troubled >> queue & 1)
        return;
    worker->troubled |= UINT64_C(1) << queue;
    worker_trouble(worker);
}

void worker_break(struct worker *worker, uint32_t queue, enum virtqueue_fault fault)
{
    worker->queues[queue]->fault = fault;
    report(worker, queue);
}

bool worker_take(struct worker *worker, uint32_t queue, struct virtqueue_chain *chain)
{
    struct virtqueue *from = worker->queues[queue];

    if (virtqueue_take(from, chain)) {
        chain->kind = worker->kinds[queue];
        return true;
    }
    if (from->fault)
        report(worker, queue);
    return false;
}

void worker_put(struct worker *worker, uint32_t queue, struct virtqueue_chain *chain, uint32_t written)
{
    worker->moved += requests_length(chain, written);
    requests_record(worker->requests, chain, worker->index, queue, written, tsc_now());
    virtqueue_put(worker->queues[queue], chain->head, written);
}

/* Send what is pending, unless it is masked: whoever takes it sends it. */
static void deliver(struct worker_interrupt *interrupt)
{
    if (!__atomic_load_n(&interrupt->masked, __ATOMIC_SEQ_CST) &&
        __atomic_exchange_n(&interrupt->pending, 0, __ATOMIC_SEQ_CST) && interrupt->event >= 0)
        ring(interrupt->event);
}

void worker_interrupt(struct worker *worker, uint32_t queue)
{
    struct worker_interrupt *interrupt = &worker->interrupts[queue];

    if (interrupt->status)
        bits_change(interrupt->status, interrupt->cause, 0);
    __atomic_store_n(&interrupt->pending, 1, __ATOMIC_SEQ_CST);
    deliver(interrupt);
}

void worker_publish(struct worker *worker, uint32_t queue)
{
    if (!worker->alone)
        virtqueue_publish(worker->queues[queue]);
}

void worker_tell(struct worker *worker, uint32_t queue)
{
    if (!worker->alone && virtqueue_interrupts(worker->queues[queue]))
        worker_interrupt(worker, queue);
}

void worker_mask(struct worker *worker, uint32_t queue, bool masked)
{
    struct worker_interrupt *interrupt = &worker->interrupts[queue];

    __atomic_store_n(&interrupt->masked, masked, __ATOMIC_SEQ_CST);
    deliver(interrupt);
}

bool worker_wait(struct worker *worker, uint32_t queue)
{
    return virtqueue_wait(worker->queues[queue]);
}

void worker_answer(struct worker *worker, uint32_t queue,
                   uint32_t (*answer)(struct worker *worker, uint32_t queue, struct virtqueue_chain *chain))
{
    struct virtqueue *from = worker->queues[queue];
    uint32_t n = from->size;

    virtqueue_busy(from);
    while (n && worker_take(worker, queue, &worker->chain)) {
        worker_put(worker, queue, &worker->chain, answer(worker, queue, &worker->chain));
        if (--n % BATCH == 0)
            worker_tell(worker, queue);
        if (LOAD(worker->holds))
            break;
    }
    if (worker_wait(worker, queue))
        worker->again |= UINT64_C(1) << queue;
    worker_tell(worker, queue);
}

static uint32_t echo(struct worker *worker, uint32_t queue, struct virtqueue_chain *chain)
{
    uint32_t at = 0;
    uint8_t piece[4096];

    while (at < chain->writable && at < chain->readable) {
        uint32_t n = chain_read(chain, at, piece, sizeof piece);
        at += chain_write(chain, at, piece, n);
    }
    return at;
}

static void echo_all(struct worker *worker, uint64_t told)
{
    for (uint32_t i = 0; i < worker->n_queues; i++)
        if (told >> i & 1)
            worker_answer(worker, i, echo);
}

struct worker_device worker_echo = {.serve = echo_all};

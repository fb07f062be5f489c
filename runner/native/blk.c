#include "blk.h"

#include "atomic.h"
#include "dma.h"

#include <stdlib.h>

enum { BATCH = 16 }; /* chains between two looks whether the driver wants an interrupt */

static const uint32_t HEADER = sizeof(struct virtio_blk_outhdr);

/* Whether the disk has these sectors; their sum may be anything. */
static bool has(const struct blk *blk, uint64_t sector, uint64_t n)
{
    return sector <= blk->disk.sectors && n <= blk->disk.sectors - sector;
}

/* The ranges of memory from byte `at` of these on; the first may become shorter. */
static struct iovec *skip(struct iovec *ranges, uint64_t at)
{
    while (at >= ranges->iov_len)
        at -= (ranges++)->iov_len;
    ranges->iov_base = (uint8_t *)ranges->iov_base + at;
    ranges->iov_len -= at;
    return ranges;
}

/* An errno as a status; errors of the host are reported to Python. */
static uint8_t outcome(struct blk *blk, const struct virtqueue_chain *chain, int error)
{
    uint32_t none = 0;

    if (!error)
        return VIRTIO_BLK_S_OK;
    if (!LOAD(blk->error))
        STORE(blk->failed, chain->kind);
    __atomic_compare_exchange_n(&blk->error, &none, (uint32_t)error, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    return VIRTIO_BLK_S_IOERR;
}

/* Whether the disk has what a request reads or writes: whole sectors. */
static bool fits(const struct blk *blk, const struct virtqueue_chain *chain)
{
    return chain->length % SECTOR == 0 && has(blk, chain->position, chain->length / SECTOR);
}

static uint8_t act_on_ranges(struct blk *blk, struct virtqueue_chain *chain)
{
    struct virtio_blk_discard_write_zeroes ranges[BLK_DISCARD_RANGES];
    bool discard = chain->kind == REQUEST_DISCARD;
    uint32_t bytes = chain->readable - HEADER, n = bytes / sizeof *ranges;
    uint32_t allowed = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    int error = 0;

    if (!blk->disk.writable)
        return VIRTIO_BLK_S_IOERR;
    if (bytes % sizeof *ranges || !n || n > (discard ? BLK_DISCARD_RANGES : BLK_ZERO_RANGES))
        return VIRTIO_BLK_S_IOERR;
    chain_read(chain, HEADER, ranges, bytes);
    chain->position = ranges[0].sector;
    for (uint32_t i = 0; i < n; i++) {
        if (ranges[i].flags & ~allowed)
            return VIRTIO_BLK_S_UNSUPP; /* 5.2.6.2 */
        if (!has(blk, ranges[i].sector, ranges[i].num_sectors) ||
            ranges[i].num_sectors > (discard ? BLK_DISCARD_SECTORS : BLK_ZERO_SECTORS))
            return VIRTIO_BLK_S_IOERR;
        chain->length += (uint64_t)ranges[i].num_sectors * SECTOR;
    }
    for (uint32_t i = 0; i < n && !error; i++)
        error = discard ? disk_discard(&blk->disk, ranges[i].sector, ranges[i].num_sectors)
                        : disk_zero(&blk->disk, ranges[i].sector, ranges[i].num_sectors, ranges[i].flags);
    return outcome(blk, chain, error);
}

static uint8_t kind(uint32_t type)
{
    switch (type) {
    case VIRTIO_BLK_T_IN:
        return REQUEST_READ;
    case VIRTIO_BLK_T_OUT:
        return REQUEST_WRITE;
    case VIRTIO_BLK_T_FLUSH:
        return REQUEST_FLUSH;
    case VIRTIO_BLK_T_GET_ID:
        return REQUEST_GET_ID;
    case VIRTIO_BLK_T_DISCARD:
        return REQUEST_DISCARD;
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return REQUEST_WRITE_ZEROES;
    default:
        return REQUEST_OTHER;
    }
}

/* The status is the last byte that the device writes, wherever the driver's buffers begin and end (5.2.6, 2.7.4). The
 * used ring counts the bytes from the first on (2.7.8.2). */
static uint32_t end(struct virtqueue_chain *chain, uint8_t status)
{
    const struct iovec *last = &chain->ranges[chain->n_readable + chain->n_writable - 1];
    volatile uint8_t *at = (uint8_t *)last->iov_base + last->iov_len - 1;
    uint32_t data = chain->writable - 1, written = chain->kind == REQUEST_READ && !status ? data : 0;

    if (chain->kind == REQUEST_GET_ID)
        written = (uint32_t)chain->length;
    chain->status = status;
    *at = status;
    dma_wrote((const void *)at, 1);
    return written + (written == data);
}

enum blk_progress blk_begin(struct blk *blk, struct virtqueue_chain *chain, uint32_t *written)
{
    struct virtio_blk_outhdr header;
    uint32_t room = chain->writable - 1;
    uint8_t status = VIRTIO_BLK_S_OK;

    *written = 0;
    if (!chain->writable || chain_read(chain, 0, &header, HEADER) != HEADER)
        return BLK_MALFORMED;
    chain->kind = kind(header.type);
    chain->position = header.sector;
    chain->length = 0;
    switch (chain->kind) {
    case REQUEST_READ:
        chain->length = room;
        if (!fits(blk, chain))
            status = VIRTIO_BLK_S_IOERR;
        else if (room && !disk_read_now(&blk->disk, chain->ranges + chain->n_readable, chain->position, room))
            return BLK_WAITS;
        break;
    case REQUEST_WRITE:
        chain->length = chain->readable - HEADER;
        if (!fits(blk, chain) || !blk->disk.writable)
            status = VIRTIO_BLK_S_IOERR;
        else if (!chain->length)
            break;
        else if (disk_write_waits(&blk->disk))
            return BLK_WAITS;
        else
            return *written = blk_finish(blk, chain), BLK_ANSWERED;
        break;
    case REQUEST_GET_ID:
        chain->length = chain_write(chain, 0, blk->id, room < sizeof blk->id ? room : sizeof blk->id);
        break;
    case REQUEST_FLUSH:
        if (disk_flush_waits(&blk->disk))
            return BLK_WAITS;
        break;
    case REQUEST_DISCARD:
    case REQUEST_WRITE_ZEROES:
        return BLK_WAITS;
    default:
        status = VIRTIO_BLK_S_UNSUPP;
    }
    *written = end(chain, status);
    return BLK_ANSWERED;
}

uint32_t blk_finish(struct blk *blk, struct virtqueue_chain *chain)
{
    const struct disk *disk = &blk->disk;

    switch (chain->kind) {
    case REQUEST_READ:
        return end(chain, outcome(blk, chain,
                                  disk_read(disk, chain->ranges + chain->n_readable, chain->position, chain->length)));
    case REQUEST_WRITE:
        return end(chain,
                   outcome(blk, chain, disk_write(disk, skip(chain->ranges, HEADER), chain->position, chain->length)));
    case REQUEST_FLUSH:
        return end(chain, outcome(blk, chain, disk_flush(disk)));
    default:
        return end(chain, act_on_ranges(blk, chain));
    }
}

uint32_t blk_failed(struct blk *blk, uint32_t *kind)
{
    *kind = LOAD(blk->failed);
    return __atomic_exchange_n(&blk->error, 0, __ATOMIC_ACQ_REL);
}

/* A thread that waits for the disk. */
static void *wait_for_disk(void *argument)
{
    struct blk *blk = argument;

    pthread_mutex_lock(&blk->lock);
    for (;;) {
        struct blk_request *request = blk->waiting;
        bool first;

        if (!request) {
            if (blk->ending)
                break;
            blk->idle++;
            pthread_cond_wait(&blk->more, &blk->lock);
            blk->idle--;
            continue;
        }
        blk->waiting = request->next;
        blk->n_waiting--;
        if (!blk->waiting)
            blk->last = &blk->waiting;
        pthread_mutex_unlock(&blk->lock);
        request->written = blk_finish(blk, &request->chain);
        pthread_mutex_lock(&blk->lock);
        first = !blk->done;
        request->next = blk->done;
        blk->done = request;
        if (first)
            worker_wake(blk->worker);
    }
    pthread_mutex_unlock(&blk->lock);
    return NULL;
}

/* Have a request answered by a thread, in the order of arrival; here, if there can be no thread. */
static void send(struct blk *blk, struct blk_request *request)
{
    bool start;

    request->next = NULL;
    pthread_mutex_lock(&blk->lock);
    *blk->last = request;
    blk->last = &request->next;
    start = ++blk->n_waiting > blk->idle && blk->n_threads < BLK_THREADS;
    pthread_cond_signal(&blk->more);
    pthread_mutex_unlock(&blk->lock);
    blk->in_flight++;
    if (start && worker_thread(&blk->threads[blk->n_threads], wait_for_disk, blk) == 0)
        blk->n_threads++;
    if (!blk->n_threads) { /* none took it */
        blk->waiting = NULL;
        blk->last = &blk->waiting;
        blk->n_waiting = 0;
        request->written = blk_finish(blk, &request->chain);
        request->next = blk->done;
        blk->done = request;
        worker_wake(blk->worker);
    }
}

static struct blk_request *take_free(struct blk *blk)
{
    struct blk_request *request = blk->free;

    if (request)
        blk->free = request->next;
    else if (blk->n_requests < BLK_IN_FLIGHT && (request = malloc(sizeof *request)))
        blk->n_requests++;
    return request;
}

static void put_free(struct blk *blk, struct blk_request *request)
{
    request->next = blk->free;
    blk->free = request;
}

/* Put back what threads have answered. Returns the queues (bits). */
static uint64_t collect(struct worker *worker, struct blk *blk)
{
    struct blk_request *request, *next;
    uint64_t queues = 0;

    pthread_mutex_lock(&blk->lock);
    request = blk->done;
    blk->done = NULL;
    pthread_mutex_unlock(&blk->lock);
    for (; request; request = next) {
        next = request->next;
        worker_put(worker, request->queue, &request->chain, request->written);
        queues |= UINT64_C(1) << request->queue;
        put_free(blk, request);
        blk->in_flight--;
    }
    return queues;
}

static void serve_queue(struct worker *worker, struct blk *blk, uint32_t queue)
{
    struct virtqueue *from = worker->queues[queue];
    struct blk_request *request;
    uint32_t n = from->size;

    virtqueue_busy(from);
    while ((request = take_free(blk))) {
        enum blk_progress progress;

        if (!n-- || LOAD(worker->holds) || !worker_take(worker, queue, &request->chain)) {
            put_free(blk, request);
            break;
        }
        request->queue = queue;
        progress = blk_begin(blk, &request->chain, &request->written);
        if (progress == BLK_WAITS && !worker->alone) {
            send(blk, request);
            continue;
        }
        if (progress == BLK_WAITS)
            request->written = blk_finish(blk, &request->chain);
        if (progress == BLK_MALFORMED) {
            worker_break(worker, queue, VIRTQUEUE_MALFORMED);
            request->chain.status = VIRTIO_BLK_S_IOERR;
        }
        worker_put(worker, queue, &request->chain, request->written);
        put_free(blk, request);
        if (n % BATCH == 0)
            worker_tell(worker, queue);
    }
    if (!request && blk->in_flight)
        blk->full |= UINT64_C(1) << queue; /* until one comes back */
    else if (!request || worker_wait(worker, queue))
        worker->again |= UINT64_C(1) << queue;
    worker_tell(worker, queue);
}

static void tell(struct worker *worker, uint64_t queues)
{
    for (uint32_t i = 0; i < worker->n_queues; i++)
        if (queues >> i & 1)
            worker_tell(worker, i);
}

static void serve(struct worker *worker, uint64_t told)
{
    struct blk *blk = worker->state;
    uint64_t back;

    blk->worker = worker;
    back = collect(worker, blk);
    if (back) {
        told |= blk->full;
        blk->full = 0;
    }
    tell(worker, back);
    for (uint32_t i = 0; i < worker->n_queues; i++)
        if (told >> i & 1)
            serve_queue(worker, blk, i);
    if (LOAD(blk->error))
        worker_trouble(worker);
}

/* Everything in flight is answered, and no thread is left. */
static void rest(struct worker *worker)
{
    struct blk *blk = worker->state;

    pthread_mutex_lock(&blk->lock);
    blk->ending = true;
    pthread_cond_broadcast(&blk->more);
    pthread_mutex_unlock(&blk->lock);
    while (blk->n_threads)
        pthread_join(blk->threads[--blk->n_threads], NULL);
    blk->ending = false;
    tell(worker, collect(worker, blk));
    worker->again |= blk->full;
    blk->full = 0;
    while (blk->free) {
        struct blk_request *next = blk->free->next;

        free(blk->free);
        blk->free = next;
    }
    blk->n_requests = 0;
    if (LOAD(blk->error))
        worker_trouble(worker);
}

void blk_init(struct blk *blk)
{
    disk_init(&blk->disk);
    pthread_mutex_init(&blk->lock, NULL);
    pthread_cond_init(&blk->more, NULL);
    blk->last = &blk->waiting;
}

struct worker_device blk_device = {.serve = serve, .rest = rest};

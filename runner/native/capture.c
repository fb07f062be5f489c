#include "capture.h"

#include "atomic.h"
#include "tsc.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { PACKET = 6, FLAGS = 2, INWARD = 1, OUTWARD = 2 }; /* epb_flags: bits 0 and 1 */
enum { PATIENCE = 1000 }; /* ms without progress, after which the end does not wait for a pipe's reader */

struct head {
    uint32_t type, length, interface, time_high, time_low, captured, original;
};
struct tail {
    uint16_t flags_code, flags_size;
    uint32_t flags, end_of_options, length;
};

/* The caller has looked whether there is room. */
static void add(struct capture *capture, const void *bytes, uint32_t size)
{
    memcpy(capture->buffer + capture->used, bytes, size);
    capture->used += size;
}

int capture_begin(struct capture *capture, const void *blocks, uint32_t size)
{
    add(capture, blocks, size);
    capture_flush(capture);
    return (int)capture->error;
}

void capture_frame(struct capture *capture, const void *frame, uint32_t size, bool inward)
{
    static const uint8_t padding[4];
    uint32_t pad = -size % 4, length = sizeof(struct head) + size + pad + sizeof(struct tail);
    uint64_t time = capture->epoch + (uint64_t)nanoseconds(tsc_now(), capture->tsc_start, capture->tsc_khz);
    struct head head = {PACKET, length, 0, (uint32_t)(time >> 32), (uint32_t)time, size, size};
    struct tail tail = {FLAGS, sizeof tail.flags, inward ? INWARD : OUTWARD, 0, length};

    if (capture->error)
        return;
    if (capture->used + length > CAPTURE_BUFFER)
        capture_flush(capture);
    if (capture->used + length > CAPTURE_BUFFER) {
        capture->dropped++;
        return;
    }
    capture->frames++;
    add(capture, &head, sizeof head);
    add(capture, frame, size);
    add(capture, padding, pad);
    add(capture, &tail, sizeof tail);
}

/* The bytes of the whole blocks among the first `size` in the buffer, which begins with a block. */
static uint32_t whole(const struct capture *capture, uint32_t size)
{
    uint32_t at = 0, length;

    for (; at + 8 <= size; at += length) {
        memcpy(&length, capture->buffer + at + 4, sizeof length);
        if (length > size - at)
            break;
    }
    return at;
}

static void fail(struct capture *capture, uint32_t written, int error)
{
    off_t end = (off_t)(capture->size - written + whole(capture, written));

    if (ftruncate(capture->fd, end) == 0) /* fails for what is no file */
        capture->size = (uint64_t)end;
    capture->used = 0;
    STORE(capture->error, (uint32_t)error);
}

void capture_flush(struct capture *capture)
{
    uint32_t at = 0;

    while (at < capture->used) {
        ssize_t n = write(capture->fd, capture->buffer + at, capture->used - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            fail(capture, at, errno);
            return;
        }
        at += (uint32_t)n;
        capture->size += (uint64_t)n;
    }
    capture->used -= at;
    if (at)
        memmove(capture->buffer, capture->buffer + at, capture->used);
}

void capture_end(struct capture *capture, const void *blocks, uint32_t size)
{
    if (!capture->error && capture->used + size <= CAPTURE_BUFFER)
        add(capture, blocks, size);
    while (!capture->error && capture->used) {
        struct pollfd room = {.fd = capture->fd, .events = POLLOUT};
        if (poll(&room, 1, PATIENCE) == 0)
            break;
        capture_flush(capture);
    }
}

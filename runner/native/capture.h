/* A capture of frames: enhanced packet blocks of a pcapng file (draft-ietf-opsawg-pcapng, 4.3), with the direction and
 * the trace's time of each. What is wrong with its file never holds the frames up. */
#ifndef VMRUN_CAPTURE_H
#define VMRUN_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum { CAPTURE_BUFFER = 1 << 20 }; /* bytes that may wait for a pipe's reader */

struct capture {
    int fd; /* which does not block */
    uint32_t error; /* errno of a write that failed, 0: none did; nothing is written after it */
    uint64_t epoch, tsc_start, tsc_khz; /* ns since 1970 of a TSC, and the TSC's rate */
    uint64_t frames, dropped; /* captured; left out, as the reader was too slow */
    uint64_t size; /* of what was written */
    uint32_t used;
    uint8_t buffer[CAPTURE_BUFFER];
};

/* The blocks that begin and end the file come from the caller. Returns an errno. */
int capture_begin(struct capture *capture, const void *blocks, uint32_t size);
void capture_end(struct capture *capture, const void *blocks, uint32_t size);

/* A frame, without any header of virtio's, which goes to the guest (inward) or comes from it. */
void capture_frame(struct capture *capture, const void *frame, uint32_t size, bool inward);
/* Write what there is. A file that cannot take it ends with the last whole block. */
void capture_flush(struct capture *capture);

#endif

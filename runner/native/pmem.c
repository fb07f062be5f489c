#include "pmem.h"

#include <linux/virtio_pmem.h>

enum { OK, FAILED }; /* a response: VIRTIO_PMEM_RESP_TYPE_OK, _EIO (5.19.6) */

/* What the guest writes ends with the run, so there is nothing to make durable. A response is for a whole request. */
static uint32_t answer(struct worker *worker, uint32_t queue, struct virtqueue_chain *chain)
{
    struct virtio_pmem_req request;
    struct virtio_pmem_resp response = {.ret = OK};

    if (chain_read(chain, 0, &request, sizeof request) != sizeof request || chain->writable < sizeof response) {
        worker_break(worker, queue, VIRTQUEUE_MALFORMED);
        chain->status = REQUEST_ERROR;
        return 0;
    }
    chain->length = 0;
    if (request.type != VIRTIO_PMEM_REQ_TYPE_FLUSH) {
        chain->kind = REQUEST_OTHER;
        chain->status = REQUEST_UNSUPPORTED;
        response.ret = FAILED;
    }
    return chain_write(chain, 0, &response, sizeof response);
}

static void serve(struct worker *worker, uint64_t told)
{
    if (told & 1)
        worker_answer(worker, 0, answer);
}

struct worker_device pmem_device = {.serve = serve};

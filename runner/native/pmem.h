/* The persistent memory device (virtio 1.2, 5.19): its requests. The memory itself needs no exit. */
#ifndef VMRUN_PMEM_H
#define VMRUN_PMEM_H

#include "worker.h"

/* The worker's device; it has no state. */
extern struct worker_device pmem_device;

#endif

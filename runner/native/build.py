"""Builds ``runner.native._native``: all C of the project, through cffi's API mode.

``setup.py`` names this file to cffi. ``generated.py`` writes the C of a trace's tables from ``vmspec/trace``.
"""

import os
import runpy
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))  # a build environment has not installed the project
# Imported by its path: its package needs the extension.
GENERATED = runpy.run_path(str(HERE / "generated.py"))
sys.path.pop(0)

# A cdef cannot express these: ioctl is variadic, and kvm_run's exit data is in an anonymous union.
GLUE = r"""
#include <sys/ioctl.h>
#include <cpuid.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "blk.h"
#include "capture.h"
#include "dma.h"
#include "memory.h"
#include "net.h"
#include "netstream.h"
#include "netrelay.h"
#include "netuser.h"
#include "perf.h"
#include "pmem.h"
#include "process.h"
#include "requests.h"
#include "signals.h"
#include "vcpu.h"
#include "vhost.h"
#include "virtqueue.h"
#include "vsock.h"
#include "worker.h"

static void host_cpuid(uint32_t function, uint32_t *registers)
{
    __cpuid_count(function, 0, registers[0], registers[1], registers[2], registers[3]);
}

static int call_value(int fd, unsigned long request, unsigned long argument) { return ioctl(fd, request, argument); }
static int call_pointer(int fd, unsigned long request, void *argument) { return ioctl(fd, request, argument); }
/* Advice: a kernel before 5.14 does not know it, and pages then come as they are touched. In pieces: while the kernel
 * maps pages, no thread can change the mappings of the process, and page faults queue behind one that wants to. With
 * rests between them: if a vCPU and the recorder use all processors, a vCPU would wait until all pages are mapped. */
struct populating { uint32_t over; };
static void populate(void *start, size_t size, const struct populating *run)
{
    const size_t piece = 16 << 10;
    const struct timespec rest = {.tv_nsec = 100000};

    for (size_t at = 0; at < size && !__atomic_load_n(&run->over, __ATOMIC_RELAXED); at += piece) {
        madvise((char *)start + at, size - at < piece ? size - at : piece, MADV_POPULATE_WRITE);
        nanosleep(&rest, NULL);
    }
}
static uint64_t run_hardware_reason(const struct kvm_run *run)
{
    return run->fail_entry.hardware_entry_failure_reason;
}
static uint64_t run_rip(const struct kvm_run *run) { return run->s.regs.regs.rip; }
static uint32_t run_suberror(const struct kvm_run *run) { return run->internal.suberror; }
static uint32_t run_internal_data(const struct kvm_run *run, uint64_t *data)
{
    uint32_t n = run->internal.ndata < 16 ? run->internal.ndata : 16;

    for (uint32_t i = 0; i < n; i++)
        data[i] = run->internal.data[i];
    return n;
}
static uint32_t run_system_event(const struct kvm_run *run) { return run->system_event.type; }
"""

# The loop, the ring and the bus are three files and one hot path: inlined across them, which hidden names allow. Builds
# for coverage and sanitizers say otherwise (see the Makefile).
OPTIMISE = os.environ.get("VMRUN_NATIVE_FLAGS", "-O2 -flto").split()
SOURCES = (
    "ring",
    "bus",
    "gate",
    "debug",
    "virtual",
    "vcpu",
    "perf",
    "process",
    "signals",
    "memory",
    "dma",
    "virtqueue",
    "requests",
    "worker",
    "disk",
    "blk",
    "capture",
    "net",
    "nettap",
    "netstream",
    "netuser",
    "netrelay",
    "fragments",
    "vsock",
    "vsockconnection",
    "vsocksocket",
    "pmem",
    "vhost",
)

ffibuilder = FFI()
ffibuilder.cdef(GENERATED["declarations"]())
ffibuilder.cdef((HERE / "native.cdef").read_text())

# Sources are named relative to the project, as setuptools asks; record.h is written beside them at build time.
(HERE / "record.h").write_text(GENERATED["header"]())
ffibuilder.set_source(
    "runner.native._native",
    GLUE,
    sources=[f"runner/native/{name}.c" for name in SOURCES],
    include_dirs=["runner/native"],
    depends=[f"runner/native/{file.name}" for file in sorted((*HERE.glob("*.h"), HERE / "native.cdef"))],
    extra_compile_args=[*OPTIMISE, "-fvisibility=hidden", "-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter"],
    extra_link_args=OPTIMISE,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)

"""The exit record: the definition that the C ring, the cffi view, the Arrow schema and the documentation share.

A vCPU thread writes one 64-byte record per exit into its ring. Payloads longer than eight bytes go to a byte ring
beside it. ``runner/native/build.py`` writes ``struct record`` and its constants from the tables below.
``tracer/format/schema.py`` builds the Arrow schema from :data:`COLUMNS`. ``tracer/read/recovery.py`` reads a ring file
with :data:`RECORD` and the header tables.
"""

from collections.abc import Iterable

from vmspec.trace import keys
from vmspec.trace.table import Column, Field, Names, Records, Table

# struct record, in memory order, no padding: the fields add up to 64 bytes.
RECORD = (
    Field("tsc_exit", "uint64_t", "host's TSC when KVM_RUN returned"),
    Field("tsc_entry", "uint64_t", "host's TSC just before KVM_RUN was called again, or when the vCPU thread stopped"),
    Field("rip", "uint64_t", "guest RIP at the exit, valid if flags has RIP"),
    Field("addr", "uint64_t", "port (io), guest-physical address (mmio), KVM's exit number (unknown)"),
    Field("data", "uint64_t", "first eight data bytes, little-endian, the rest zero"),
    Field("payload", "uint64_t", "running offset of the payload in the ring's payload bytes, if flags has PAYLOAD"),
    Field("count", "uint32_t", "number of items: 1, or more for string I/O, or 0 if no data moves"),
    Field("length", "uint16_t", "bytes of payload; KVM moves at most a page in one exit"),
    Field("vector", "uint16_t", "vector of the interrupt that vmrun gave the vCPU for its next entry, else 0"),
    Field("device", "int16_t", "index of the first device of the plan that claims a byte of the access, else -1"),
    Field("flags", "uint16_t", "bits of FLAGS"),
    Field("reason", "uint8_t", "KVM exit reason, an index into REASONS"),
    Field("size", "uint8_t", "bytes of one item"),
    Field("direction", "uint8_t", "index into DIRECTIONS"),
    Field("region", "uint8_t", "index of the region among that device's regions, else 0"),
)
RECORD_SIZE = 64

# The indexes are KVM_EXIT_* numbers (linux/kvm.h), the names the constants' own in lower case.
REASONS = (
    "unknown",
    "exception",
    "io",
    "hypercall",
    "debug",
    "hlt",
    "mmio",
    "irq_window_open",
    "shutdown",
    "fail_entry",
    "intr",
    "set_tpr",
    "tpr_access",
    "s390_sieic",
    "s390_reset",
    "dcr",
    "nmi",
    "internal_error",
    "osi",
    "papr_hcall",
    "s390_ucontrol",
    "watchdog",
    "s390_tsch",
    "epr",
    "system_event",
    "s390_stsi",
    "ioapic_eoi",
    "hyperv",
    "arm_nisv",
    "rdmsr",
    "wrmsr",
    "dirty_ring_full",
    "ap_reset_hold",
    "bus_lock",
    "xen",
    "riscv_sbi",
    "riscv_csr",
    "notify",
    "loongarch_iocsr",
    "memory_fault",
    "tdx",
    "arm_sea",
)
# Reasons beyond the table are recorded as the first, with the kernel's number in addr.

DIRECTIONS = ("none", "read", "write")
NO_DEVICE = "-"

# Bits of the flags column.
FLAGS = {
    "UNCLAIMED": 1 << 0,
    "PYTHON": 1 << 1,
    "PUBLISHED": 1 << 2,
    "QUEUED": 1 << 3,
    "PAYLOAD": 1 << 4,
    "RIP": 1 << 5,
    "GAP": 1 << 6,
    "LAST": 1 << 7,
    "SPLIT": 1 << 8,
    "PAUSED": 1 << 9,
    "WINDOW": 1 << 10,
}
FLAG_DOCS = {
    "UNCLAIMED": "no device claims any byte: reads returned all ones, writes had no effect",
    "PYTHON": "a device answered in Python",
    "PUBLISHED": "C answered: a read from a shadow register, or a write that the device ignores",
    "QUEUED": "C queued the written bytes for the device",
    "PAYLOAD": "there are more than eight bytes of data; payload has all of them",
    "RIP": "rip is valid",
    "GAP": "exits before this one were dropped because the ring was full",
    "LAST": "the vCPU's last exit: t_entry is when its thread stopped",
    "SPLIT": "answered in parts: the access crosses the end of a region, or has 3, 5, 6 or 7 bytes",
    "PAUSED": "the machine was paused since the vCPU's exit before this one",
    "WINDOW": "virtual time: an interrupt waits, and KVM is asked for the exit irq_window_open",
}

# The trace's columns. There are no nulls; a column that does not apply to a reason is zero or empty.
COLUMNS = (
    Column("seq", "uint64", "number", "number of the recorded exit on its vCPU, from 0, without gaps"),
    Column("vcpu", "uint16", "", "index of the vCPU"),
    Column("t_exit", "int64", "ns", "when KVM_RUN returned to the VMM, since the machine started"),
    Column(
        "t_entry", "int64", "ns", "when the VMM called KVM_RUN again, or when the vCPU thread stopped, since the start"
    ),
    Column("reason", "int8", "", "KVM exit reason: the name of KVM_EXIT_* in lower case", Names(REASONS)),
    Column(
        "rip",
        "uint64",
        "address",
        "guest RIP at the exit; 0 if unknown, as at a shutdown on AMD (flag RIP clear)",
    ),
    Column(
        "addr",
        "uint64",
        "address",
        "port (io), guest-physical address (mmio), MSR index (rdmsr, wrmsr), KVM's exit number (unknown)",
    ),
    Column("size", "uint8", "bytes", "size of one item"),
    Column("count", "uint32", "", "number of items: 1, or more for string I/O; 0 if no data moves"),
    Column("direction", "int8", "", "read (the guest reads), write (the guest writes) or none", Names(DIRECTIONS)),
    Column(
        "data",
        "uint64",
        "hex",
        "the first eight bytes of data, little-endian; an MSR's value; an error's suberror; the ns when a hlt woke",
    ),
    Column("payload", "binary", "bytes", "all bytes of data if there are more than eight, else empty"),
    Column(
        "device",
        "int16",
        "",
        "the first device that claims a byte of the access; - if none does",
        Names((NO_DEVICE,), keys.DEVICES),
    ),
    Column(
        "region",
        "uint8",
        "",
        "index of the device's region in vmrun.regions; 0 if no device claims the access",
        later=True,
    ),
    Column("flags", "uint16", "flags", "how the exit was answered: bits of FLAGS"),
    Column(
        "vector",
        "uint8",
        "number",
        "virtual time: vector of the interrupt that the guest takes at its next entry; else 0",
        later=True,
    ),
)
# The columns by which two runs are compared: those that do not depend on time.
COMPARED = ("reason", "rip", "addr", "size", "count", "direction", "data", "payload", "device", "vector")
EXITS = Table(
    "exits",
    what="exits",
    format="1",
    time="t_exit",
    columns=COLUMNS,
    metadata=keys.kinds(keys.SPEC, keys.HOST, keys.CLOCK, keys.REGIONS),
    summary={
        "complete": "flag",
        "result": "scalars",
        "rows": "counts",
        "dropped": "counts",
        "interrupted": "counts",
        "start_ns": "times",
        "stop_ns": "times",
        "open_ns": "times",
        "paused_ns": "times",
        "pauses_ns": "spans",
        "duration_ns": "time",
        "stats": "counters",
        "clocks": "integers",
        "frames": "totals",
    },
    switch="trace.path",
    records=Records("record", RECORD, number="seq", ring="vcpu", times={"t_exit": "tsc_exit", "t_entry": "tsc_entry"}),
)

# The ring file: one header, the metadata (JSON, UTF-8), then for each vCPU a control block, its slots, its payload
# bytes, then for the requests a control block and slots. Every part starts on a page. The file outlives a killed
# process; `vmtrace recover` reads it.
PAGE = 4096
RING_MAGIC = 0x31474E4952_4D56  # "VMRING1\0" read as little-endian begins with these bytes
RING_VERSION = 6
HEADER = (
    Field("magic", "uint64_t", "RING_MAGIC"),
    Field("version", "uint64_t", "RING_VERSION"),
    Field("rings", "uint64_t", "number of rings, one per vCPU"),
    Field("slots", "uint64_t", "records in one ring, a power of two"),
    Field("payload_size", "uint64_t", "payload bytes of one ring, a power of two"),
    Field("metadata_size", "uint64_t", "bytes of JSON from offset PAGE"),
    Field("first_ring", "uint64_t", "offset of ring 0 in the file"),
    Field("ring_size", "uint64_t", "bytes from one ring to the next"),
    Field("tsc_start", "uint64_t", "host's TSC at time 0"),
    Field("tsc_khz", "uint64_t", "rate of the host's TSC in kHz"),
    Field("tsc_seen", "uint64_t", "host's TSC when the recorder last looked into the rings, 0 before that"),
    Field("requests", "uint64_t", "offset of the ring of requests, 0: they are not recorded"),
)
# The control block of one ring; each group of fields with one writer has a cache line of its own.
RING = (
    Field("head", "uint64_t", "records published by the vCPU thread"),
    Field("payload_head", "uint64_t", "payload bytes published"),
    Field("open", "uint64_t", "host's TSC of the exit now being handled, 0 in the guest"),
    Field("dropped", "uint64_t", "exits not recorded because the ring was full"),
    Field("interrupted", "uint64_t", "returns of KVM_RUN with EINTR, which are not recorded"),
    Field("waits", "uint64_t", "times the vCPU thread waited for room"),
    Field("start", "uint64_t", "host's TSC when the vCPU thread first called KVM_RUN, 0 before that"),
    Field("stop", "uint64_t", "host's TSC when the vCPU thread stopped, 0 before that"),
    Field("tail", "uint64_t", "records the recorder has written to the trace"),
    Field("payload_tail", "uint64_t", "payload bytes the recorder has written"),
    Field("thread", "uint64_t", "the vCPU thread's id in the kernel, written once before the guest, 0 before that"),
    Field("waiting", "uint64_t", "1 while the vCPU thread waits for room: a futex on the low half of tail"),
    Field(
        "paused",
        "uint64_t",
        "ticks of the host's TSC in pauses; during a pause, less the host's TSC at which it began, modulo 2**64",
    ),
    Field("pauses", "uint64_t", "pauses that the vCPU thread has begun"),
)
# The newest pauses of the vCPU, in the rest of the control block's page: number n is entry n % PAUSES.
PAUSE = (
    Field("begin", "uint64_t", "host's TSC when the vCPU thread began to stand still"),
    Field("end", "uint64_t", "host's TSC when it went on, 0 before that"),
)
PAUSES_AT = 512
PAUSES = (PAGE - PAUSES_AT) // 16


def paused(word: int, tsc: int) -> int:
    """The ticks that a vCPU was paused for until ``tsc``, by :data:`RING`'s ``paused``.

    That is one word, so that it is right at any moment at which a run is killed. A pause under way makes it negative:
    the TSC is more than all pauses together. Whoever looked last before that pause knows of none (0).
    """
    ticks = (word + tsc) % (1 << 64) if word >> 63 else word
    return 0 if ticks >> 63 else ticks


def pauses(word: int, tsc: int, known: Iterable[tuple[int, int]], start: int, khz: int) -> tuple[int, list[list[int]]]:
    """How long a vCPU was paused until ``tsc``, in ns, and when: starts and ends in ns since the TSC ``start``.

    ``word`` is :data:`RING`'s ``paused``, ``known`` are entries of :data:`PAUSE`, in order. Each time is rounded once,
    and the known pauses add up to the whole, plus those that are not known any more.
    """
    spans = [(begin, end or max(tsc, begin)) for begin, end in known]
    spans = [(begin, end) for begin, end in spans if begin <= end]
    ticks = paused(word, max([tsc, *(end for _, end in spans[-1:])]))
    unknown = max(ticks - sum(end - begin for begin, end in spans), 0)
    times = [[max(tsc - start, 0) * 1_000_000 // khz for tsc in span] for span in spans]
    return sum(end - begin for begin, end in times) + unknown * 1_000_000 // khz, times

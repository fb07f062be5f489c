"""A long trace to measure the readers with: generated in the shape of a boot, never run."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tracer.schema import KEY_SUMMARY, NO_DEVICE, dictionaries, trace_schema
from vmspec.record import DIRECTIONS, FLAGS, REASONS

DEVICES = ("serial0", "rtc0", "acpi0", "virtio-blk0")
BATCH = 16384  # rows, as the recorder writes them
STEP = 2000  # ns from one exit to the next
LINE = b"[    0.000000] generated: a line of the console, as long as lines of a kernel's log are\r\n"

# What every other exit is: of a hundred, how many, reason, device, address, bytes, direction. The rest is LINE.
KINDS = (
    (60, "io", "serial0", 0x3FD, 1, "read"),
    (20, "mmio", "virtio-blk0", 0xD0000050, 4, "write"),
    (10, "io", "rtc0", 0x71, 1, "read"),
    (5, "hlt", NO_DEVICE, 0, 0, "none"),
    (3, "io", NO_DEVICE, 0xCF8, 4, "write"),
    (2, "wrmsr", NO_DEVICE, 0x6E0, 8, "write"),
)


def write(path: Path, rows: int, vcpus: int = 2) -> None:
    """Write a finished trace of so many rows, ``STEP`` ns apart."""
    metadata = {"vmrun.spec": '[vm]\nname = "generated"\nmemory = "256MiB"\n', "vmrun.images": "{}"}
    schema = trace_schema(metadata, DEVICES)
    pattern = _pattern(schema, vcpus)
    summary = {"result": {"kind": "reset", "status": 0}, "duration_ns": rows * STEP}
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        for start in range(0, rows, BATCH):
            writer.write_batch(_batch(pattern, schema, start, vcpus).slice(0, rows - start))
        writer.write_batch(pattern.slice(0, 0), custom_metadata={KEY_SUMMARY: json.dumps(summary)})


def _batch(pattern: pa.RecordBatch, schema: pa.Schema, start: int, vcpus: int) -> pa.RecordBatch:
    """The pattern from row ``start`` on: numbers, times and places in the code of its own."""
    number = pa.array(range(start, start + BATCH), pa.int64())
    noise = pc.floor(pc.multiply(pc.random(BATCH, initializer=start), float(STEP // 2))).cast(pa.int64())
    t_exit = pc.multiply(number, STEP)
    # A few hot places in the code, and many cold ones.
    cold = pc.multiply(pc.bit_wise_and(pc.multiply(number, 0x9E3779B1), 0xFFFF), 16)
    rip = pc.add(pc.if_else(pc.less(noise, STEP // 4), pc.bit_wise_and(noise, 31), cold), 0x7FFFFFFF81000000)
    own = {"seq": pc.divide(number, vcpus), "t_exit": t_exit, "t_entry": pc.add(t_exit, noise), "rip": rip}
    columns = [own.get(field.name, pattern[field.name]).cast(field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _pattern(schema: pa.Schema, vcpus: int) -> pa.RecordBatch:
    """What repeats every BATCH rows."""
    kinds = [kind for kind in KINDS for _ in range(kind[0])]
    text = [(100, "io", "serial0", 0x3F8, 1, "write")]
    rows = [(text if at % 2 else kinds)[at // 2 * 37 % (1 if at % 2 else 100)] for at in range(BATCH)]
    codes = {"reason": REASONS, "direction": DIRECTIONS, "device": (NO_DEVICE, *DEVICES)}
    values = {
        "vcpu": [at % vcpus for at in range(BATCH)],
        "reason": [REASONS.index(row[1]) for row in rows],
        "device": [codes["device"].index(row[2]) for row in rows],
        "addr": [row[3] for row in rows],
        "size": [row[4] for row in rows],
        "direction": [DIRECTIONS.index(row[5]) for row in rows],
        "count": [min(row[4], 1) for row in rows],
        "data": [LINE[at // 2 % len(LINE)] if at % 2 else 0 for at in range(BATCH)],
        "payload": [b""] * BATCH,
        "flags": [FLAGS["RIP"] | (FLAGS["UNCLAIMED"] if row[2] == NO_DEVICE else 0) for row in rows],
    }
    arrays = []
    for field in schema:
        column = values.get(field.name, [0] * BATCH)
        if field.name in codes:
            names = dictionaries(DEVICES)[field.name]
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(column, field.type.index_type), names))
        else:
            arrays.append(pa.array(column, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

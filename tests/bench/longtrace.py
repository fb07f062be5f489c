"""Long traces for measuring the readers: a boot's exits over two vCPUs, repeated, made in build/bench."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracer.format.schema import STORED, schema_names, schema_of
from tracer.record.buffers import Buffers
from tracer.record.rewrite import BATCH_ROWS, LEVEL, empty, summary_metadata
from vmspec.trace.record import DIRECTIONS, EXITS, FLAGS, REASONS

BUILD = Path("build/bench")
VCPUS = 2
DEVICES = ("serial0", "i8042-0", "rtc0", "acpi0")

# A Linux boot's exits: weight, device, address, bytes, direction, RIP, median handling time in ns. A line's bytes come
# in pairs of a status read and a write; the others lie between the lines.
STATUS = ("serial0", 0x3FD, 1, "read", 0xFFFFFFFF816BCD74, 1600)
BYTE = ("serial0", 0x3F8, 1, "write", 0xFFFFFFFF816BCD96, 2200)
BETWEEN = (
    (632, ("serial0", 0x3F9, 1, "write", 0xFFFFFFFF816BCD96, 616_000)),
    (307, ("serial0", 0x3F9, 1, "read", 0xFFFFFFFF816BCD74, 5300)),
    (130, ("rtc0", 0x71, 1, "read", 0xFFFFFFFF8103BAA9, 350_000)),
    (84, ("i8042-0", 0x64, 1, "read", 0xFFFFFFFF8173CD3B, 3700)),
    (75, (None, 0xCF8, 4, "write", 0xFFFFFFFF81995BFE, 1500)),
    (32, (None, 0xCFE, 2, "read", 0xFFFFFFFF81995C08, 1900)),
    (22, ("acpi0", 0x602, 2, "read", 0xFFFFFFFF81628F13, 200_000)),
)
LINES, LENGTH = 3000, 67  # more rows than a batch has: what repeats within one is packed better than real exits


def trace(rows: int, flip: int | None = None) -> Path:
    """A trace of so many rows in build/bench, written where it is not there. ``flip``: as for `write`."""
    path = BUILD / (f"{rows}.arrow" if flip is None else f"{rows}-{flip}.arrow")
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        write(temporary, rows, flip)
        temporary.replace(path)
    return path


def write(path: Path, rows: int, flip: int | None = None) -> None:
    """Writes a trace of so many rows: one boot after the other. ``flip``: a row whose data has one bit different."""
    import pyarrow as pa

    schema = schema_of(EXITS, {"vmrun.spec": '[vm]\nname = "scale"\n', "vmrun.devices": json.dumps(DEVICES)})
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", LEVEL))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        written = 0
        for table in boots(boot(schema), rows):
            for batch in table.to_batches(max_chunksize=BATCH_ROWS):
                here = flip is not None and written <= flip < written + batch.num_rows
                writer.write_batch(flipped(batch, flip - written) if flip is not None and here else batch)
                written += batch.num_rows
        counts = [len(range(vcpu, rows, VCPUS)) for vcpu in range(VCPUS)]
        summary = {"rows": counts, "dropped": [0] * VCPUS, "result": {"kind": "reset", "status": 0}}
        writer.write_batch(empty(schema), custom_metadata=summary_metadata(summary))


def boot(schema: Any) -> Any:
    """The exits of one boot as a record batch."""
    draw = random.Random(1)
    weights = [weight for weight, _ in BETWEEN]
    kinds = []
    for number in range(LINES):
        text = f"[{number / 50:12.6f}] device{number}: ".ljust(LENGTH - 1, "x") + "\n"
        kinds += [kind for byte in text.encode() for kind in ((STATUS, 0x60), (BYTE, byte))]
        kinds += [(kind, 0xFF) for kind in draw.choices([kind for _, kind in BETWEEN], weights, k=4)]
    buffers = Buffers(EXITS, rows=len(kinds), payload_capacity=0)
    columns = {c.name: memoryview(buffers.columns[c.name]).cast(STORED[c.type][0]) for c in EXITS.columns}
    now = 0
    for row, ((device, addr, size, direction, rip, median), data) in enumerate(kinds):
        now += round(draw.lognormvariate(10, 0.5))  # in the guest, about 20 us
        values = {
            "seq": row // VCPUS, "vcpu": row % VCPUS, "t_exit": now, "reason": REASONS.index("io"), "rip": rip,
            "addr": addr, "size": size, "count": 1, "direction": DIRECTIONS.index(direction), "data": data,
            "device": DEVICES.index(device) + 1 if device else 0,
            "flags": FLAGS["RIP"] | (0 if device else FLAGS["UNCLAIMED"]),
        }  # fmt: skip
        now += round(median * draw.lognormvariate(0, 0.4))
        for name, value in (values | {"t_entry": now}).items():
            columns[name][row] = value
    return buffers.batch(len(kinds), schema, schema_names(schema))


def boots(first: Any, rows: int) -> Iterator[Any]:
    """That boot again and again, each after the one before, until there are so many rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.Table.from_batches([first])
    length = table["t_entry"][-1].as_py() + 1000
    for number in range(-(-rows // table.num_rows)):
        later = table
        for name, step in (("seq", table.num_rows // VCPUS), ("t_exit", length), ("t_entry", length)):
            at = table.schema.get_field_index(name)
            moved = pc.add(table[name], pa.scalar(number * step, table.schema.field(at).type))
            later = later.set_column(at, table.schema.field(at), moved)
        yield later.slice(0, rows - number * table.num_rows)


def flipped(batch: Any, row: int) -> Any:
    """The batch with the lowest bit of data of one row flipped."""
    import pyarrow as pa

    index = batch.schema.get_field_index("data")
    data = batch.column(index).to_pylist()
    data[row] ^= 1
    return batch.set_column(index, batch.schema.field(index), pa.array(data, pa.uint64()))

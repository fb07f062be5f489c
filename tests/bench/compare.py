"""What comparing and exporting cost: ``vmtrace diff`` of two traces of ten million exits, and each export's rate."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.figure import Figure
from tracer.rewrite import summary_metadata
from tracer.schema import dictionaries, trace_schema

ROWS, BATCH = 10_000_000, 32_768
EXPORTED = 500_000
DEVICES = ("serial0", "rtc0", "i80420")
EXPORTS = ("perfetto", "chrome", "collapsed", "parquet", "csv", "pcap")


def measure() -> list[Figure]:
    """Seconds and peak memory of comparing equal traces and traces of one different bit; rows a second of exports."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("a.arrow", "b.arrow", "c.arrow", "small.arrow")]
        generate(paths[0], ROWS)
        generate(paths[1], ROWS)
        generate(paths[2], ROWS, flip=ROWS - 12_345)
        generate(paths[3], EXPORTED)
        for name, other, status in (("equal", paths[1], 0), ("one bit different", paths[2], 1)):
            seconds, peak = timed(["diff", paths[0], other], status)
            figures.append(Figure(f"diff of 2 x 10M rows, {name}", seconds, "s", 20))
            figures.append(Figure(f"diff of 2 x 10M rows, {name}: peak RSS", peak, "MiB", 512))
        for name in EXPORTS:
            out = Path(folder, f"out.{name}")
            seconds, peak = timed(["export", paths[3], f"--{name}", "-o", out], 0)
            figures.append(Figure(f"export --{name}", EXPORTED / seconds / 1e3, "krows/s"))
            figures.append(Figure(f"export --{name}: peak RSS", peak, "MiB"))
            out.unlink()
    return figures


def timed(arguments: list[str | Path], status: int) -> tuple[float, float]:
    """Wall seconds of a ``vmtrace`` of its own, start and all, and its peak resident memory in MiB."""
    code = "import sys; from tracer.cli import main; sys.exit(main())"
    report = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", report, sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.monotonic() - start
    ended, peak = map(int, done.stdout.split())
    if ended != status:
        raise RuntimeError(f"vmtrace {arguments[0]} exited with {ended}: {done.stderr}")
    return seconds, peak / 1024  # Linux counts KiB


def generate(path: Path, rows: int, *, flip: int | None = None, vcpus: int = 2) -> None:
    """A trace of ``rows`` exits as a boot's console makes them, over ``vcpus``; ``flip``: a row with one bit of data
    different."""
    import pyarrow as pa

    schema = trace_schema({"vmrun.spec": '[vm]\nname = "bench"\n', "vmrun.host": "{}"}, DEVICES)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    closing = {"rows": [len(range(vcpu, rows, vcpus)) for vcpu in range(vcpus)], "duration_ns": rows * 2_000}
    block = _block(schema, vcpus)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        for first in range(0, rows, BATCH):
            batch = _shifted(block.slice(0, min(BATCH, rows - first)), first, vcpus)
            if flip is not None and first <= flip < first + batch.num_rows:
                batch = _flipped(batch, flip - first)
            writer.write_batch(batch)
        writer.write_batch(block.slice(0, 0), custom_metadata=summary_metadata(closing))


def _block(schema: Any, vcpus: int) -> Any:
    """The rows that every batch repeats: a status read, then a byte written; sometimes a clock read, or a halt."""
    import pyarrow as pa

    names = {name: texts.to_pylist() for name, texts in dictionaries(DEVICES).items()}
    kinds = [
        ("io", 0x3FD, 1, 1, "read", 0x60, "serial0"),
        ("io", 0x3F8, 1, 1, "write", 0x61, "serial0"),
        ("io", 0x71, 1, 1, "read", 0x07, "rtc0"),
        ("hlt", 0, 0, 0, "none", 0, "-"),
    ]
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    for row in range(BATCH):
        reason, addr, size, count, direction, data, device = kinds[
            0 if row % 2 == 0 else 1 if row % 128 < 120 else 2 + row // 128 % 2
        ]
        values = {
            "seq": row // vcpus,
            "vcpu": row % vcpus,
            "t_exit": row * 2_000 + (row * 7919) % 977,
            "t_entry": row * 2_000 + 1_000 + (row * 104_729) % 499,
            "reason": names["reason"].index(reason),
            "rip": 0xFFFFFFFF81000000 + (row * 16_127) % 65_536 if row % 3 else 0xFFFFFFFF816AB3C0,
            "addr": addr,
            "size": size,
            "count": count,
            "direction": names["direction"].index(direction),
            "data": data if row % 2 == 0 or addr != 0x3F8 else 32 + (row * 31) % 90,
            "payload": b"",
            "device": names["device"].index(device),
            "flags": 32,
        }
        for name, value in values.items():
            columns[name].append(value)
    arrays = [
        pa.DictionaryArray.from_arrays(
            pa.array(columns[field.name], field.type.index_type), dictionaries(DEVICES)[field.name]
        )
        if pa.types.is_dictionary(field.type)
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _shifted(batch: Any, first: int, vcpus: int) -> Any:
    """The batch, ``first`` rows later in the trace."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
    arrays["seq"] = pc.add(arrays["seq"], pa.scalar(first // vcpus, pa.uint64()))
    for name in ("t_exit", "t_entry"):
        arrays[name] = pc.add(arrays[name], first * 2_000)
    return pa.RecordBatch.from_arrays(list(arrays.values()), schema=batch.schema)


def _flipped(batch: Any, row: int) -> Any:
    """The batch with the lowest bit of data of one row flipped."""
    import pyarrow as pa

    index = batch.schema.get_field_index("data")
    data = batch.column(index).to_pylist()
    data[row] ^= 1
    return batch.set_column(index, batch.schema.field(index), pa.array(data, pa.uint64()))

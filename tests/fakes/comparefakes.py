"""Traces written from rows, without rings: quick enough for property tests, and as different as a test needs."""

import json

import pyarrow as pa

from tests.fakes.tracefakes import ZEROS
from tracer.format.schema import schema_names, schema_of
from tracer.record.rewrite import summary_metadata
from vmspec.trace.record import EXITS

DEVICES = ("serial0", "rtc0")
METADATA = {"vmrun.spec": '[vm]\nname = "fake"\nmemory = 1\n', "vmrun.host": '{"kernel": "6.1"}'}


def exit_row(**values):
    """A row of a byte written to the serial port, but for ``values``."""
    row = {name: zero for name, zero in ZEROS.items() if name not in ("seq", "t_exit", "t_entry")} | {
        "vcpu": 0,
        "reason": "io",
        "rip": 0x1000,
        "addr": 0x3F8,
        "size": 1,
        "count": 1,
        "direction": "write",
        "data": 0x41,
        "payload": b"",
        "device": "serial0",
        "flags": 32,
    }
    return row | values


def write_trace(path, rows, *, devices=DEVICES, metadata=METADATA, closing=None, batch=50):
    """Write rows in the order given; ``seq``, and times a microsecond apart, are added where a row has none."""
    schema = schema_of(EXITS, {**metadata, "vmrun.devices": json.dumps(list(devices))})
    names = schema_names(schema)
    codes = {name: {text: code for code, text in enumerate(texts.to_pylist())} for name, texts in names.items()}
    seen = {}
    full = []
    for number, row in enumerate(rows):
        seen[row["vcpu"]] = seen.get(row["vcpu"], -1) + 1
        times = {"seq": seen[row["vcpu"]], "t_exit": 1000 * number, "t_entry": 1000 * number + 400}
        full.append(times | row)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, len(full), batch):
            writer.write_batch(_batch(full[start : start + batch], schema, codes, names))
        closing = {"rows": list(seen.values()), "duration_ns": 1000 * len(rows)} if closing is None else closing
        writer.write_batch(_batch([], schema, codes, names), custom_metadata=summary_metadata(closing))
    return path


def _batch(rows, schema, codes, names):
    arrays = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if field.name in codes:
            indices = pa.array([codes[field.name][value] for value in values], field.type.index_type)
            arrays.append(pa.DictionaryArray.from_arrays(indices, names[field.name]))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def spec(text):
    """Metadata with another spec."""
    return METADATA | {"vmrun.spec": text}


def images(**hashes):
    """Metadata with images of some sha256."""
    return METADATA | {"vmrun.images": json.dumps({name: {"sha256": value} for name, value in hashes.items()})}

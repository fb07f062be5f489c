"""The console of a trace that may be larger than memory: only what its port moved is kept."""

from typing import Any

from tracer.console import DEBUG, SERIAL, Console
from tracer.reader import Trace

COLUMNS = ("vcpu", "t_exit", "addr", "size", "count", "direction", "data", "payload", "device")


def port_rows(trace: Trace, devices: tuple[str, ...]) -> Any:
    """The rows of some devices, in the columns that a console needs, as a table."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(devices, pa.utf8())
    schema = pa.schema([trace.schema.field(name) for name in trace.schema.names if name in COLUMNS])
    parts = []
    for batch in trace.batches(COLUMNS):
        device = batch.column("device")
        codes = pc.indices_nonzero(pc.is_in(device.dictionary, wanted)).cast(device.type.index_type)
        rows = batch.filter(pc.is_in(device.indices, codes))
        if rows.num_rows:
            parts.append(rows)
    return pa.Table.from_batches(parts, schema=schema).unify_dictionaries()


def read_console(trace: Trace) -> Console:
    """The console of a trace; of its lines, ``exits`` counts only exits of the port."""
    ports = tuple(name for name in trace.devices if name.rstrip("0123456789") in (SERIAL, DEBUG))
    return Console(port_rows(trace, ports), trace.devices)

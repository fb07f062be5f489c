"""What serial and debug ports moved, of a trace that may be larger than memory."""

from collections.abc import Iterator, Sequence
from typing import Any

from tracer.format.devicenames import kind_of
from tracer.read.reader import Trace

COLUMNS = ("t_exit", "addr", "size", "count", "direction", "data", "payload", "device")


def ports(trace: Trace, *kinds: str) -> tuple[str, ...]:
    """The names of a machine's ports of some kinds, "serial" or "debug-port"."""
    return tuple(name for name in trace.devices if kind_of(name) in kinds)


def port_rows(trace: Trace, names: Sequence[str]) -> Iterator[Any]:
    """The rows of some ports, in :data:`COLUMNS`, a record batch for each batch of the trace that has any."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(names, pa.utf8())
    for batch in trace.batches(COLUMNS):
        device = batch.column("device")
        codes = pc.indices_nonzero(pc.is_in(device.dictionary, wanted)).cast(device.type.index_type)
        rows = batch.filter(pc.is_in(device.indices, codes))
        if rows.num_rows:
            yield rows

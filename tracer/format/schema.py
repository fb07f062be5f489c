"""The Arrow schema of a trace, built from the record definition in :mod:`vmspec.trace.record`."""

import json
from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from vmspec.trace.record import COLUMNS, DIRECTIONS, FLAGS, REASONS

FORMAT = "1"  # raised when a reader of the format before would misread the file

# Keys of the schema's metadata. The runner adds vmrun.spec, vmrun.images, vmrun.host, vmrun.overrides and others.
KEY_FORMAT = "vmrun.format"
KEY_DEVICES = "vmrun.devices"
# Key of the custom metadata of the last record batch, which has no rows.
KEY_SUMMARY = "vmrun.summary"

NO_DEVICE = "-"
TIME = "t_exit"  # the column that a trace is ordered by

# struct/memoryview format and width in bytes of what a column stores: codes for names, offsets for payload.
STORED = {
    "uint8": ("B", 1),
    "uint16": ("H", 2),
    "uint32": ("I", 4),
    "uint64": ("Q", 8),
    "int64": ("q", 8),
    "reason": ("b", 1),
    "direction": ("b", 1),
    "device": ("h", 2),
    "binary": ("i", 4),
}


def column_type(name: str) -> Any:
    """The pyarrow type of a column type of :data:`vmspec.trace.record.COLUMNS`."""
    import pyarrow as pa

    match name:
        case "reason" | "direction":
            return pa.dictionary(pa.int8(), pa.utf8())
        case "device":
            return pa.dictionary(pa.int16(), pa.utf8())
        case _:
            return pa.type_for_alias(name)


def trace_schema(metadata: Mapping[str, str], devices: Sequence[str]) -> Any:
    """The ``pyarrow.Schema`` of a trace: no nulls, units and meanings in the fields' metadata."""
    import pyarrow as pa

    fields = [
        pa.field(c.name, column_type(c.type), nullable=False, metadata={"unit": c.unit, "doc": c.doc}) for c in COLUMNS
    ]
    keys = {KEY_FORMAT: FORMAT, KEY_DEVICES: json.dumps(list(devices))}
    return pa.schema(fields, metadata={**metadata, **keys})


def dictionaries(devices: Sequence[str]) -> dict[str, Any]:
    """Names behind the codes, as one ``pyarrow.Array`` per dictionary column; device code 0 is "no device"."""
    return {"reason": texts(REASONS), "direction": texts(DIRECTIONS), "device": texts((NO_DEVICE, *devices))}


def flag_names(flags: int) -> list[str]:
    """The bits of the column ``flags`` by name."""
    return [name for name, bit in FLAGS.items() if flags & bit]


def texts(words: Sequence[str]) -> Any:
    """A utf8 array. Not ``pyarrow.array``, which imports pandas where it is installed: 50 MB in a running VMM."""
    import pyarrow as pa

    encoded = [text.encode() for text in words]
    offsets = array("i", accumulate(map(len, encoded), initial=0))
    return pa.Array.from_buffers(
        pa.utf8(), len(words), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(encoded))]
    )

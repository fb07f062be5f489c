"""JSON lines: an object for each row, by the columns' names, with the values of :mod:`tracer.format.jsonvalues`."""

import json
from collections.abc import Iterable
from typing import Any, BinaryIO

from tracer.format.jsonvalues import converter
from tracer.format.rowfile import tuples
from tracer.format.vocabulary import unit


def write(schema: Any, batches: Iterable[Any], out: BinaryIO) -> int:
    """Write a table's batches; returns the rows."""
    converters = [(field.name, converter(field.type, unit(field))) for field in schema]
    rows = 0
    for batch in batches:
        for row in tuples(batch):
            values = {name: convert(value) for (name, convert), value in zip(converters, row, strict=True)}
            out.write(json.dumps(values).encode() + b"\n")
        rows += batch.num_rows
    return rows

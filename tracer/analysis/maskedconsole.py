"""A trace whose console is lines with masked numbers, to compare boots whose texts differ in numbers only.

Each row of the console's devices is replaced or left out. The row that wrote a line's first byte gets the whole line as
its payload, each number in it as ``#``; one row may write several lines. All others (the line's further bytes, the
polling between them, the registers) are left out, because their number depends on the length of the line.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from tracer.read.console import Console
from tracer.read.reader import Trace

# printk pads its times with blanks; hexadecimal numbers have 0x, or a digit among at least four.
NUMBER = re.compile(r" *(?:0x[0-9a-fA-F]+|(?=[a-fA-F]*[0-9])[0-9a-fA-F]{4,}\b|[0-9]+)")


def masked(text: str) -> str:
    """A line with each number, and the blanks before it, as ``#``."""
    return NUMBER.sub("#", text)


class MaskedConsole:
    """The part of a trace that comparing needs; rows are counted without those left out."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._console = Console(trace, trace.devices)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trace, name)

    @cached_property
    def _lines(self) -> dict[int, str]:
        """The masked lines that each row begins."""
        begun: dict[int, list[str]] = {}
        for line in self._console.lines():
            begun.setdefault(line.row, []).append(masked(line.text))
        return {row: "\n".join(texts) for row, texts in begun.items()}

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """As :meth:`tracer.Trace.batches`; all columns include one more, ``line``: the masked line or null."""
        import pyarrow as pa
        import pyarrow.compute as pc

        devices = pa.array(self._console.devices, pa.utf8())
        needed = None if columns is None else list(dict.fromkeys([*columns, "device"]))
        first = 0
        for batch in self.trace.batches(needed):
            own = pc.is_in(batch["device"].cast(pa.utf8()), devices)
            rows = pa.array(range(first, first + batch.num_rows), pa.int64())
            first += batch.num_rows
            begins = pc.is_in(rows, value_set=pa.array(self._lines, pa.int64()))
            if pc.any(own).as_py() or pc.any(begins).as_py():
                texts = [self._lines[row] for row in rows.filter(begins).to_pylist()]
                wanted = pc.or_(begins, pc.invert(own))
                batch = _with_lines(batch, begins, texts, columns is None).filter(wanted)  # noqa: PLW2901
            yield batch.select(columns or batch.schema.names)


def _with_lines(batch: Any, begins: Any, texts: Sequence[str], tell: bool) -> Any:
    """The batch with whole lines in the rows that begin one, replacing the write itself; with the column ``line`` if it
    is wanted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, value in (("data", 0), ("rip", 0), ("count", 1), ("size", 1)):
        if name in batch.schema.names:
            index = batch.schema.get_field_index(name)
            zero = pa.scalar(value, batch.schema.field(index).type)
            batch = batch.set_column(index, batch.schema.field(index), pc.if_else(begins, zero, batch[name]))
    if "payload" in batch.schema.names:
        index = batch.schema.get_field_index("payload")
        lines = pa.array([text.encode() for text in texts], pa.binary())
        batch = batch.set_column(
            index, batch.schema.field(index), pc.replace_with_mask(batch["payload"], begins, lines)
        )
    if tell:
        none = pa.nulls(batch.num_rows, pa.utf8())
        batch = batch.append_column("line", pc.replace_with_mask(none, begins, pa.array(texts, pa.utf8())))
    return batch

"""Which devices print, and which of the guest's writes are text: the bytes that serial and debug ports transmit."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from attrs import fields

from tracer.format.devicenames import kind_of
from tracer.read.metadata import machine_specs
from vmspec.devices.device import PORTS
from vmspec.devices.isa import DebugPort
from vmspec.registers.serial import COMS, DLAB, LCR, LOOP, MCR, THR, WIDTH
from vmspec.trace.record import FLAGS

SERIAL, VIRTIO, DEBUG = "serial", "virtio-console", "debug-port"
ORDER = (SERIAL, VIRTIO, DEBUG)  # the machine's console is the first of these


class Port(NamedTuple):
    """A device that prints, or a port of a virtio console. ``base`` is the first I/O port of a serial or debug port,
    None if the trace has no spec with it. ``sink`` is where its text goes: ports with the same one print to one place.
    ``number`` is the port's in the table of outputs, None if its text is in the exits."""

    name: str
    kind: str
    base: int | None
    sink: tuple[str, ...]
    device: str = ""
    number: int | None = None

    @property
    def width(self) -> int:
        """The number of ports that it claims."""
        return WIDTH if self.kind == SERIAL else 1

    def offset(self, row: Mapping[str, Any]) -> int | None:
        """The offset of a row's access from the base, negative before it; None if it does not reach the port."""
        if self.base is None:
            return int(row["addr"]) % self.width if row["device"] == self.name else None
        offset = int(row["addr"]) - self.base
        split = (
            row["flags"] & FLAGS["SPLIT"] and row["reason"] == "io" and _machine(row["device"]) == _machine(self.name)
        )
        over = offset < self.width and offset + row["size"] > 0
        return offset if row["device"] == self.name or (split and over) else None


def ports(metadata: Mapping[str, str], devices: Sequence[str], outputs: Collection[str] = ()) -> list[Port]:
    """The ports that print: of each kind in the order of the spec. ``outputs`` are devices in the table of outputs."""
    specs = machine_specs(metadata)
    found: list[Port] = []
    numbers: dict[tuple[str, str], int] = {}
    for name in devices:
        machine, kind = _machine(name), kind_of(name)
        if kind not in ORDER and name not in outputs:
            continue
        number = numbers[machine, kind] = numbers.get((machine, kind), -1) + 1
        tables = specs.get(machine, {}).get("device")
        listed = tables if isinstance(tables, list) else []
        same = [table for table in listed if isinstance(table, dict) and table.get("kind") == kind]
        table = same[number] if number < len(same) else None
        found += [_port(name, kind, machine, table)] if kind in (SERIAL, DEBUG) else _others(name, kind, machine, table)
    return sorted(found, key=lambda port: ORDER.index(port.kind) if port.kind in ORDER else len(ORDER))


def _port(name: str, kind: str, machine: str, table: Mapping[str, Any] | None) -> Port:
    if table is None:
        return Port(name, kind, None, (name,))
    sink = _sink(name, machine, str(table.get("output", "stdout")))
    if kind == SERIAL:
        com = table.get("com", 1)
        return Port(name, kind, COMS[com][0] if isinstance(com, int) and com in COMS else None, sink)
    try:
        base = int(str(table.get("port", fields(DebugPort).port.default)), 0)  # written in hexadecimal, as text
    except ValueError:
        return Port(name, kind, None, sink)
    return Port(name, kind, base if 0 <= base < PORTS else None, sink)


def _others(name: str, kind: str, machine: str, table: Mapping[str, Any] | None) -> Iterator[Port]:
    """The ports of a device whose text is in the table of outputs: its console, and those with names."""
    table = table or {}
    yield Port(name, kind, None, _sink(name, machine, str(table.get("output", "stdout"))), name, 0)
    listed = table.get("ports", ())
    for number, port in enumerate(listed if isinstance(listed, list) else (), 1):
        if isinstance(port, dict):
            own = f"{name}.{port.get('name', number)}"
            yield Port(own, kind, None, _sink(own, machine, str(port.get("output", "none"))), name, number)


def _sink(name: str, machine: str, output: str) -> tuple[str, ...]:
    """Where a port's text goes; what goes nowhere is with no other port's."""
    return (name,) if output == "none" else (machine, output)


class Transmitter:
    """The bytes that one port transmits, over the rows of a trace."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._lcr = self._mcr = 0

    def text(self, rows: Any) -> Any:
        """For each row that writes, a bit for each byte of an item that is transmitted: bit 0 is the first.

        ``rows`` is a table with the columns ``addr``, ``size``, ``count``, ``data``, ``payload``, ``device``, ``flags``
        and ``reason``.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        offset, size = self._offset(rows), rows["size"].cast(pa.int64())
        end = pc.add(offset, size)
        mine = self._mine(rows, offset, end)
        here = pc.and_(mine, pc.and_(pc.less_equal(offset, THR), pc.greater(end, THR)))
        if self._port.kind == SERIAL:
            reaches = pc.and_(mine, pc.and_(pc.less_equal(offset, MCR), pc.greater(end, LCR)))
            on = pa.Array.from_buffers(
                pa.uint8(), rows.num_rows, [None, pa.py_buffer(self._sent(rows, offset, reaches))]
            )
            here = pc.and_(here, pc.equal(on, 1))
        byte = pc.if_else(here, pc.negate(offset), 0).cast(pa.uint8())
        return pc.if_else(here, pc.shift_left(pa.scalar(1, pa.uint8()), byte), pa.scalar(0, pa.uint8()))

    def _offset(self, rows: Any) -> Any:
        """The offset of each access from the port's base; negative before it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._port.base is not None:
            return pc.subtract(rows["addr"], pa.scalar(self._port.base, pa.uint64())).cast(pa.int64(), safe=False)
        return pc.bit_wise_and(rows["addr"], pa.scalar(self._port.width - 1, pa.uint64())).cast(pa.int64())

    def _mine(self, rows: Any, offset: Any, end: Any) -> Any:
        """The rows that reach the port: a split access has the name of the first device that it reaches, which may be
        another."""
        import pyarrow.compute as pc

        named = is_(rows["device"], self._port.name)
        if self._port.base is None:
            return named
        over = pc.and_(pc.less(offset, self._port.width), pc.greater(end, 0))
        return pc.or_(named, pc.and_(pc.and_(split(rows), over), _of_machine(rows["device"], self._port.name)))

    def _sent(self, rows: Any, offset: Any, reaches: Any) -> bytearray:
        """For each row 1 if a write to offset 0 is transmitted, before the row itself changes that."""
        import pyarrow.compute as pc

        sent = bytearray(rows.num_rows)
        start = 0
        control = pc.indices_nonzero(reaches)
        # A guest may write these registers as often as others print, so no row may cost a call into Arrow.
        for row, at, size, moved in zip(
            control.to_pylist(),
            offset.take(control).to_pylist(),
            rows["size"].take(control).to_pylist(),
            items(rows.take(control)),
            strict=True,
        ):
            if self._on:
                sent[start : row + 1] = b"\1" * (row + 1 - start)
            # A wide access is one to each of the registers it covers; of a string of accesses the last one stays.
            item = moved[-size:]
            self._lcr = item[LCR - at] if at <= LCR < at + len(item) else self._lcr
            self._mcr = item[MCR - at] if at <= MCR < at + len(item) else self._mcr
            start = row + 1
        if self._on:
            sent[start:] = b"\1" * (rows.num_rows - start)
        return sent

    @property
    def _on(self) -> bool:
        return not self._lcr & DLAB and not self._mcr & LOOP


def reaching(batch: Any, names: Sequence[str]) -> Any:
    """The mask of a batch's rows that may reach some ports: their own, and split accesses to I/O ports."""
    import pyarrow.compute as pc

    mask = split(batch)
    for name in names:
        mask = pc.or_(mask, is_(batch["device"], name))
    return mask


def split(rows: Any) -> Any:
    """The rows that are port accesses to several devices."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flagged = pc.not_equal(pc.bit_wise_and(rows["flags"], pa.scalar(FLAGS["SPLIT"], pa.uint16())), 0)
    return pc.and_(flagged, is_(rows["reason"], "io"))


def items(rows: Any) -> Iterator[bytes]:
    """The items that each row moved, all their bytes."""
    columns = (rows[name].to_pylist() for name in ("payload", "data", "size", "count"))
    for payload, data, size, count in zip(*columns, strict=True):
        yield bytes((payload or data.to_bytes(8, "little"))[: size * count])


def _of_machine(column: Any, name: str) -> Any:
    """The rows of a table's dictionary column of one chunk whose device is of the same machine, in a merged trace, as
    another."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.chunk(0)
    of = [code for code, known in enumerate(array.dictionary.to_pylist()) if _machine(known) == _machine(name)]
    return pc.is_in(array.indices, pa.array(of, array.indices.type))


def _machine(device: str) -> str:
    return device.rpartition("/")[0]


def is_(column: Any, name: str) -> Any:
    """The rows of a dictionary column of one chunk that have a name: compared by its code."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return pc.equal(array.indices, pa.scalar(pc.index(array.dictionary, name).as_py(), array.indices.type))

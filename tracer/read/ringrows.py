"""Records of a ring file as rows of the trace: a column at a time, every value checked before use."""

from collections.abc import Iterator, Mapping
from typing import Any

from tracer.format.closing import TIME_END
from tracer.read.ringfile import WIDTHS, Ring, RingFile, columns
from tracer.record.buffers import wrap
from vmspec.trace.record import FLAGS, RECORD_SIZE
from vmspec.trace.table import Column, Records

NS_LIMIT = TIME_END - 1


def ring_rows(rings: RingFile, ring: Ring, wanted: range, schema: Any, names: Mapping[str, Any]) -> Iterator[Any]:
    """The wanted records of a ring, by number, as record batches, each ordered by the table's time. Ends before the
    first damaged record."""
    import pyarrow.compute as pc

    payload_at = ring.control["payload_tail"]
    for number, raw in rings.records(ring, wanted.start, wanted.stop):
        values = _arrays(ring, raw)
        good = _good(rings, ring, values, names)
        offsets, payload = b"", b""
        if ring.table.binary is not None:
            offsets, payload, payload_at, good = _payloads(rings, ring, values, good, payload_at)
        if good:
            values = {name: column.slice(0, good) for name, column in values.items()}
            batch = wrap(good, _stored(rings, ring, number, values, offsets), payload, schema, names)
            # One thread's TSC runs forward. If a host's does not, the rows are still delivered in order; so are those
            # of several threads.
            yield batch.take(pc.sort_indices(batch[ring.table.time]))
        if good < len(raw) // RECORD_SIZE:
            return


def _records(ring: Ring) -> Records:
    assert ring.table.records is not None
    return ring.table.records


def _arrays(ring: Ring, raw: memoryview) -> dict[str, Any]:
    import pyarrow as pa

    types = {"h": pa.int16(), "B": pa.uint8(), "H": pa.uint16(), "I": pa.uint32(), "Q": pa.uint64()}
    fields = _records(ring).fields
    views = columns(fields, raw)
    return {
        field.name: pa.Array.from_buffers(
            types[WIDTHS[field.ctype][0]], len(views[field.name]), [None, pa.py_buffer(views[field.name].tobytes())]
        )
        for field in fields
    }


def _good(rings: RingFile, ring: Ring, values: Mapping[str, Any], names: Mapping[str, Any]) -> int:
    """The number of records from the first on that have only possible values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    latest = pa.scalar(min(rings.tsc_start + NS_LIMIT * rings.tsc_khz // 1_000_000, (1 << 64) - 1), pa.uint64())
    earliest = pa.scalar(max(rings.tsc_start, 1), pa.uint64())  # 0 is a slot that was never written
    limits = [(field, earliest, latest) for field in _records(ring).times.values()]
    for column in ring.table.columns:
        kind, held = pa.type_for_alias(column.type), values.get(column.name)
        if column.names is not None:
            limits.append((column.name, -column.fixed_codes, len(names[column.name]) - column.fixed_codes - 1))
        elif held is not None and pa.types.is_integer(kind) and kind.bit_width < held.type.bit_width:
            limits.append((column.name, 0, (1 << kind.bit_width) - 1))  # a record has more room than its column
    good = pa.repeat(pa.scalar(True), len(next(iter(values.values()))))
    for field, least, most in limits:
        inside = pc.and_(pc.greater_equal(values[field], least), pc.less_equal(values[field], most))
        good = pc.and_(good, inside)
    bad = pc.index(good, False).as_py()
    return len(good) if bad < 0 else int(bad)


def _payloads(
    rings: RingFile, ring: Ring, values: Mapping[str, Any], rows: int, at: int
) -> tuple[bytes, bytes, int, int]:
    """Payload offsets and bytes of the first ``rows`` records, where the ring's payload continues, and how many of the
    records have a possible payload (in order, within what was published, whole)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    has = pc.not_equal(pc.bit_wise_and(values["flags"], pa.scalar(FLAGS["PAYLOAD"], pa.uint16())), 0).slice(0, rows)
    head, floor = ring.control["payload_head"], ring.control["payload_head"] - rings.payload_size
    pieces = []
    for row in pc.indices_nonzero(has).to_pylist():
        offset, length = values["payload"][row].as_py(), values["length"][row].as_py()
        piece = b""
        if max(at, floor) <= offset and offset + length <= head:
            piece = rings.payload(ring, offset, length)
        if len(piece) < length or not length:
            rows = row
            has = has.slice(0, rows)
            break
        pieces.append(piece)
        at = offset + length
    lengths = pc.if_else(has, values["length"].slice(0, rows), pa.scalar(0, pa.uint32()))
    ends = pc.cumulative_sum(lengths.cast(pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return offsets.buffers()[1].to_pybytes(), b"".join(pieces), at, rows


def _stored(rings: RingFile, ring: Ring, first: int, values: Mapping[str, Any], offsets: bytes) -> dict[str, bytes]:
    """Column buffers like those of :class:`tracer.record.buffers.Buffers`, from the fields of records."""
    numbers = range(first, first + len(next(iter(values.values()))))
    return {column.name: _buffer(rings, ring, numbers, values, offsets, column) for column in ring.table.columns}


def _buffer(
    rings: RingFile, ring: Ring, numbers: range, values: Mapping[str, Any], offsets: bytes, column: Column
) -> bytes:
    import pyarrow as pa
    import pyarrow.compute as pc

    type_, records = pa.type_for_alias(column.type), _records(ring)
    match column.name:
        case _ if column.type == "binary":
            return offsets
        case records.number:
            return _bytes(pa.array(numbers, type_))
        case records.ring:
            return _bytes(pa.repeat(pa.scalar(ring.vcpu, type_), len(numbers)))
        case name if name in records.times:
            return _bytes(_nanoseconds(rings, values[records.times[name]]))
        case name:
            codes = values[name].cast(type_)
            return _bytes(pc.add(codes, pa.scalar(column.fixed_codes, type_)) if column.fixed_codes else codes)


def _nanoseconds(rings: RingFile, tsc: Any) -> Any:
    """(tsc - tsc_start) * 1_000_000 // tsc_khz, without the overflow of the product after an hour."""
    import pyarrow as pa
    import pyarrow.compute as pc

    khz, million = pa.scalar(rings.tsc_khz, pa.uint64()), pa.scalar(1_000_000, pa.uint64())
    cycles = pc.subtract(tsc, pa.scalar(rings.tsc_start, pa.uint64()))
    whole = pc.divide(cycles, khz)
    rest = pc.subtract(cycles, pc.multiply(whole, khz))
    return pc.add(pc.multiply(whole, million), pc.divide(pc.multiply(rest, million), khz)).cast(pa.int64())


def _bytes(array: Any) -> bytes:
    """The values of a primitive array, as in memory."""
    width = array.type.bit_width // 8
    data: bytes = memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width].tobytes()
    return data

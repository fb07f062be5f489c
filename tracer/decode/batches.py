"""Batches of a trace with columns decoded from each exit; each different exit is decoded once.

An exit's name and the meaning of its value follow from its own columns. At a few addresses they also depend on what
earlier exits selected (:class:`tracer.decode.decoder.State`). Only the exits that select are processed one by one. The
others of a batch are grouped by columns and state, in Arrow, and one exit per group is decoded.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tracer.decode.decoder import DEPENDENT, READ_ONCE, STATE_ADDRESSES, STATE_PORTS, Decoder, Meaning, State, place
from tracer.decode.regions import Regions
from tracer.format.rowfile import tuples
from tracer.format.vocabulary import DERIVED
from vmspec.trace.record import FLAGS

ROWS = 1 << 16  # rows of a batch that is decoded at a time
PAYLOAD = 1 << 25  # bytes of payload of such a batch; its columns' texts must stay below 2 GiB
BYTES_SHOWN = 16  # of a payload

# Widths in bits of the numbers that make up a kind: a number within the batch; state, reason, target, direction, size,
# silent, hidden. A target is a device and one of its regions.
_PART = 17
_SMALL = (_PART, 8, _PART, 8, 8, 1, 1)
_TARGET = (16, 8)
_LETTER = {"read": "r", "write": "w"}
_FOLLOWED = ["reason", "addr", "size", "direction", "data", "device"]  # the arguments of Decoder.follow
_HEXADECIMAL = [f"0x%0{2 * min(size, 8)}x" for size in range(256)]  # an item, by its bytes
_VALUES = ("meaning", "value")


class Kind(NamedTuple):
    """The common properties of exits of one kind: all but the value. ``what`` is the name or place. ``meaning``
    decodes a value, None if no value means anything. ``size`` is the number of bytes of an item. ``silent``: nothing
    is moved."""

    what: str
    meaning: Meaning | None
    size: int
    silent: bool


class Describer:
    """Adds columns to batches, given in the order of the trace.

    ``machines`` is the machine of each vCPU of a merged trace: each machine's registers have their own state.
    ``regions`` are those of the trace's devices.
    """

    def __init__(self, machines: Mapping[int, str] | None = None, regions: Regions = Regions({})) -> None:  # noqa: B008
        self._machines = machines
        self._regions = regions
        self._states: dict[str, State] = {}

    def described(self, batch: Any) -> Any:
        """The batch, of at most ROWS rows, and the columns of :data:`tracer.format.vocabulary.DERIVED`."""
        for name, column in self.columns(batch, [column.name for column in DERIVED]).items():
            batch = batch.append_column(name, column)
        return batch

    def columns(self, batch: Any, wanted: Sequence[str]) -> dict[str, Any]:
        """The columns of :data:`tracer.format.vocabulary.DERIVED`; the batch needs only the columns that they are made
        from."""
        import pyarrow as pa
        import pyarrow.compute as pc

        columns: dict[str, Any] = {}
        told = any(name in wanted for name in _VALUES)
        if told or "what" in wanted:
            codes, kinds = self._kinds(batch, told)
            columns["what"] = _dictionary(codes, [kind.what for kind in kinds])
            if told:
                columns |= _values(batch, codes, kinds, "value" in wanted)
        if "rw" in wanted:
            direction = batch["direction"]
            letters = [_LETTER.get(name, "") for name in direction.dictionary.to_pylist()]
            columns["rw"] = _dictionary(direction.indices.cast(pa.int32()), letters)
        if "handling_ns" in wanted:
            columns["handling_ns"] = pc.subtract_checked(batch["t_entry"], batch["t_exit"])
        return {name: columns[name] for name in wanted}

    def _kinds(self, batch: Any, told: bool) -> tuple[Any, list[Kind]]:
        """A number for each row, and the exits' kind with that number; ``told``: meanings of values are wanted too."""
        import pyarrow as pa
        import pyarrow.compute as pc

        reason, device, direction = (batch[name] for name in ("reason", "device", "direction"))
        states, numbers = self._after(batch)
        silent = hidden = pa.repeat(pa.scalar(False), batch.num_rows)
        if told:
            silent = pc.or_(_is(direction, "none"), pc.equal(batch["count"], pa.scalar(0, pa.uint32())))
            lost = pc.bit_wise_and(batch["flags"], pa.scalar(FLAGS["UNCLAIMED"], pa.uint16())).cast(pa.bool_())
            hidden = pc.and_(lost, _is(direction, "read"))  # all ones, because nothing answered
        target = _packed((device.indices, batch["region"]), _TARGET).dictionary_encode()
        small = (numbers, reason.indices, target.indices, direction.indices, batch["size"], silent, hidden)
        small, places = _packed(small, _SMALL).dictionary_encode(), batch["addr"].dictionary_encode()
        numbered = _packed((small.indices, places.indices), (_PART, _PART)).dictionary_encode()
        smalls, addresses = small.dictionary.to_pylist(), places.dictionary.to_pylist()
        reasons, devices, directions = (one.dictionary.to_pylist() for one in (reason, device, direction))
        targets = [_unpacked(word, _TARGET) for word in target.dictionary.to_pylist()]
        kinds = []
        for number in numbered.dictionary.to_pylist():
            word, addr = smalls[number >> _PART], addresses[number & (1 << _PART) - 1]
            state, *codes, size, still, unknown = _unpacked(word, _SMALL)
            number_, region = targets[codes[1]]
            place_ = reasons[codes[0]], addr, size, directions[codes[2]], devices[number_]
            what, meaning = Decoder(states[state]).register(*place_)
            what = what or self._regions.place(devices[number_], region, addr) or place(place_[0], addr, place_[4])
            kinds.append(Kind(what, None if unknown else meaning, size, bool(still)))
        return numbered.indices, kinds

    def _after(self, batch: Any) -> tuple[list[State], Any]:
        """The states, and for each row the index of its state; 0 for rows that do not depend on one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = {State(): 0}
        dependent = pc.is_in(batch["addr"], pa.array(DEPENDENT, pa.uint64()))
        setting = selects(batch)
        result = pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)
        for machine, here in self._parts(batch):
            decoder = Decoder(self._states.get(machine, State()))
            found = [numbers.setdefault(decoder.state, len(numbers))]
            mine = setting if here is None else pc.and_(setting, here)
            rows = batch.select(_FOLLOWED).filter(mine)
            for row in tuples(rows.set_column(_FOLLOWED.index("data"), "data", _first_items(rows))):
                decoder.follow(*row)
                found.append(numbers.setdefault(decoder.state, len(numbers)))
            self._states[machine] = decoder.state
            mark = mine.cast(pa.int32())
            before = pc.subtract(pc.cumulative_sum(mark), mark)
            after = pa.array(found, pa.int32()).take(before)
            result = after if here is None else pc.if_else(here, after, result)
        return list(numbers), pc.if_else(dependent, result, pa.scalar(0, pa.int32()))

    def _parts(self, batch: Any) -> Sequence[tuple[str, Any]]:
        """Each machine, and the mask of its rows; None: all of them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._machines:
            return [("", None)]
        vcpus: dict[str, list[int]] = {}
        for vcpu in pc.unique(batch["vcpu"]).to_pylist():
            vcpus.setdefault(self._machines.get(vcpu, ""), []).append(vcpu)
        return [(name, pc.is_in(batch["vcpu"], pa.array(own, pa.uint16()))) for name, own in vcpus.items()]


def pieces(batch: Any) -> Iterator[Any]:
    """A batch in slices of a bounded size."""
    import pyarrow.compute as pc

    moved = 0
    if "payload" in batch.schema.names:
        moved = pc.sum(pc.binary_length(batch["payload"])).as_py() or 0
    if batch.num_rows > ROWS or (batch.num_rows > 1 and moved > PAYLOAD):
        half = batch.num_rows // 2
        yield from pieces(batch.slice(0, half))
        yield from pieces(batch.slice(half))
    else:
        yield batch


def _values(batch: Any, codes: Any, kinds: Sequence[Kind], values: bool) -> dict[str, Any]:
    """The columns `meaning` and, if wanted, `value`: each different item of a kind is decoded once."""
    items = _first_items(batch).dictionary_encode()
    numbered = _packed((codes, items.indices), (_PART, _PART)).dictionary_encode()
    known = items.dictionary.to_pylist()
    meanings, texts = [], []
    for number in numbered.dictionary.to_pylist():
        kind, item = kinds[number >> _PART], known[number & (1 << _PART) - 1]
        meaning = kind.meaning(item) if kind.meaning is not None else ""
        meanings.append(meaning)
        if kind.silent:
            texts.append("")
        else:
            shown = _HEXADECIMAL[kind.size] % item
            texts.append(f"{shown} {meaning}" if meaning else shown)
    columns = {"meaning": _dictionary(numbered.indices, meanings)}
    return columns | ({"value": _with_odd(_dictionary(numbered.indices, texts), batch)} if values else {})


def selects(batch: Any) -> Any:
    """The rows of a batch that may change the decoding of later ones: a ``pyarrow.BooleanArray``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    places = pa.array([*STATE_PORTS, *STATE_ADDRESSES], pa.uint64())
    once = pc.equal(batch["addr"], pa.scalar(READ_ONCE, pa.uint64()))
    return pc.and_(pc.is_in(batch["addr"], places), pc.or_(_is(batch["direction"], "write"), once))


def _is(column: Any, word: str) -> Any:
    """The rows of a dictionary array that have a word."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = [code for code, name in enumerate(column.dictionary.to_pylist()) if name == word]
    return pc.is_in(column.indices, pa.array(codes, column.type.index_type))


def _first_items(batch: Any) -> Any:
    """:func:`tracer.decode.first_item` of each row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    masks = pa.array([(1 << 8 * size) - 1 if 0 < size < 8 else (1 << 64) - 1 for size in range(256)], pa.uint64())
    return pc.bit_wise_and(batch["data"], masks.take(batch["size"]))


def _with_odd(values: Any, batch: Any) -> Any:
    """Fill in the values of rows that moved several items, or that have a meaning without moving any."""
    import pyarrow as pa
    import pyarrow.compute as pc

    none = pc.or_(_is(batch["direction"], "none"), pc.equal(batch["count"], pa.scalar(0, pa.uint32())))
    told = pc.not_equal(batch["data"], pa.scalar(0, pa.uint64()))
    several = pc.greater(batch["count"], pa.scalar(1, pa.uint32()))
    odd = pc.if_else(none, told, several)
    rows = batch.select(["direction", "count", "size", "data", "payload"]).filter(odd)
    if not rows.num_rows:
        return values
    first = len(values.dictionary)
    texts = [_odd(*row) for row in tuples(rows)]
    codes = pc.replace_with_mask(values.indices, odd, pa.array(range(first, first + len(texts)), pa.int32()))
    return pa.DictionaryArray.from_arrays(codes, pa.concat_arrays([values.dictionary, pa.array(texts, pa.utf8())]))


def _odd(direction: str, count: int, size: int, data: int, payload: bytes) -> str:
    if direction == "none" or count == 0:
        return f"{data:#x}"
    moved = payload or data.to_bytes(8, "little")[: size * count]
    more = "..." if len(moved) > BYTES_SHOWN else ""
    return f"{count} x {size}: {moved[:BYTES_SHOWN].hex()}{more}"


def _packed(parts: Sequence[Any], bits: Sequence[int]) -> Any:
    """Arrays of small numbers packed into one of int64, with the given number of bits for each, the first one
    highest."""
    import pyarrow as pa
    import pyarrow.compute as pc

    result = parts[0].cast(pa.int64())
    for values, width in zip(parts[1:], bits[1:], strict=True):
        result = pc.bit_wise_or(pc.shift_left(result, pa.scalar(width, pa.int64())), values.cast(pa.int64()))
    return result


def _unpacked(number: int, bits: Sequence[int]) -> list[int]:
    """The numbers packed by :func:`_packed`."""
    found = []
    for width in reversed(bits):
        found.append(number & (1 << width) - 1)
        number >>= width
    return found[::-1]


def _dictionary(codes: Any, texts: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(codes, pa.array(texts, pa.utf8()))

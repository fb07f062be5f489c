"""Mutated traces, streams and tables of tracepoints, and the commands that read them."""

import contextlib
import json
import random
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

import tracer
from tests.fakes.smallboot import IMAGES, SPEC, SUMMARY, exits_of_a_boot
from tests.fakes.tracefakes import METADATA, TSC_KHZ, TSC_START, numbered, record_all
from tests.fakes.tracepointfakes import RAN, ROWS, STORY, record
from tests.mutated import bytesmutation, oddities
from tests.mutated.watch import statuses
from tracer.format.messages import CutError, DamageError, next_message, seal
from tracer.format.schema import schema_of
from tracer.format.sealing import SealedWriter
from tracer.record.rewrite import empty, summary_metadata
from vmspec.trace import keys
from vmspec.trace.files import stream_path, table_path, table_stream_path
from vmspec.trace.record import EXITS

OUT = "OUT"
COMMANDS = (
    ("info",), ("info", "--json"), ("summary",), ("summary", "--json"), ("timeline",), ("timeline", "--json"),
    ("hot",), ("hot", "--by", "vcpu,reason"), ("report", "-o", f"{OUT}.html"), ("events",), ("events", "--json"),
    ("events", "--last", "3"), ("events", "--where", "size > 1 and t_exit < 1s"), ("events", "--follow"),
    ("top", "--once"), ("sql", "select reason, count(*) from exits group by all"), ("sql", "select * from console"),
    ("console",), ("tracepoints",), ("tracepoints", "--json"), ("diff", "GOOD"), ("diff", "FILE"),
    ("export", "--perfetto", "-o", f"{OUT}.pftrace"),
    ("export", "--chrome", "-o", f"{OUT}.json"), ("export", "--collapsed", "-o", f"{OUT}.folded"),
    ("export", "--parquet", "-o", f"{OUT}.parquet"), ("export", "--csv", "-o", f"{OUT}.csv"),
    ("export", "--pcap", "-o", f"{OUT}.pcapng"), ("merge", "--by-start", "GOOD", "-o", f"{OUT}.arrow"),
    ("merge", "FILE", "-o", f"{OUT}.arrow"), ("convert", f"{OUT}.arrow"), ("convert", f"{OUT}.arrows"),
    ("convert", f"{OUT}.parquet"), ("recover", "-o", f"{OUT}.arrow"),
)  # fmt: skip
ZSTD, LZ4 = pa.ipc.IpcWriteOptions(compression="zstd"), pa.ipc.IpcWriteOptions(compression="lz4")


class Traces:
    """A folder of good files, and mutations of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.good = folder / "good.arrow"
        record_all(self.good, exits_of_a_boot(), summary=SUMMARY)
        numbers = folder / "numbers.arrow"
        record_all(numbers, [[numbered(vcpu, number) for number in range(60)] for vcpu in range(2)], summary=SUMMARY)
        self.pair = folder / "pair.arrow"
        record_all(self.pair, [ROWS], summary=RAN)
        record(self.pair, STORY, STORY)
        self.tables = {path: tracer.load(path) for path in (self.good, numbers, self.pair)}
        self.events = self.tables[self.pair].tracepoints
        self.path = folder / "x.arrow"
        self.contents = [written(trace, *how) for trace in self.tables.values() for how in WAYS]

    def mutate(self, rng: random.Random) -> str:
        """Write a mutated file; returns what was done."""
        for path in self.folder.glob("x.*"):
            path.unlink()
        for path in self.folder.glob("OUT*"):
            path.unlink()
        kind = rng.choice(("bytes", "bytes", "framing", "framing", "values", "values", "tracepoints", "bomb"))
        match kind:
            case "bytes":
                data = bytesmutation.mutated(rng, rng.choice(self.contents))
                self.path.write_bytes(resealed(data) if rng.random() < 0.5 else data)
            case "framing":
                data = rng.choice(self.contents)
                data = bytesmutation.mutated(rng, data, framing(data))
                self.path.write_bytes(resealed(data) if rng.random() < 0.7 else data)
            case "values":
                self.path.write_bytes(self.odd_values(rng))
            case "bomb":
                self.path.write_bytes(self.bomb(rng))
            case "tracepoints":
                self.odd_tracepoints(rng)
        if rng.random() < 0.2:
            self.path.rename(stream_path(self.path))
            self.path_given = stream_path(self.path) if rng.random() < 0.5 else self.path
        else:
            self.path_given = self.path
        return kind

    def odd_values(self, rng: random.Random) -> bytes:
        """Rows, metadata and summaries that no run has."""
        trace = self.tables[rng.choice(list(self.tables))]
        metadata = dict(METADATA, **{"vmrun.spec": SPEC, "vmrun.images": json.dumps(IMAGES)}) | trace.metadata
        summary = trace.summary
        devices = json.loads(metadata["vmrun.devices"])
        batches = list(trace.batches())
        for _ in range(rng.choice((1, 1, 2))):
            match rng.randrange(6):
                case 0:
                    key = rng.choice(
                        (
                            "vmrun.host",
                            "vmrun.clock",
                            "vmrun.images",
                            "vmrun.overrides",
                            "vmrun.merged",
                            "vmrun.started",
                            "vmrun.version",
                        )
                    )
                    base = {"vmrun.clock": {"tsc_start": TSC_START, "tsc_khz": TSC_KHZ}, "vmrun.images": IMAGES,
                            "vmrun.merged": [{"name": "a", "file": "b", "first_vcpu": 0, "vcpus": 2, "shift_ns": 0,
                                              "metadata": {}, "summary": {}}]}  # fmt: skip
                    metadata[key] = plain(oddities.text(rng, base.get(key, {})))
                case 1:
                    text = rng.choice((SPEC, "a" + ".a" * 4000 + "=1", "x=" + "[" * 500, "x='" + "y" * 99999 + "'"))
                    metadata["vmrun.spec"] = bytesmutation.mutated(rng, text.encode()).decode(errors="replace")
                case 2 | 3:
                    summary = oddities.changed(rng, summary)
                case 4 | 5:
                    batches = [odd_rows(rng, batch) for batch in batches]
        if rng.random() < 0.1:
            batches *= rng.choice((2, 50))
        schema = pa.schema(
            list(schema_of(EXITS, metadata)),
            metadata={
                **schema_of(EXITS, {**metadata, "vmrun.devices": json.dumps(devices)}).metadata,
                **({"vmrun.devices": plain(oddities.text(rng, devices))} if rng.random() < 0.1 else {}),
            },
        )
        batches = [pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in batches]
        closing = batches[0].slice(0, 0)
        custom = {"vmrun.summary": plain(oddities.text(rng, summary) if rng.random() < 0.2 else json.dumps(summary))}
        return put(schema, batches, closing, custom, *rng.choice(WAYS))

    def odd_tracepoints(self, rng: random.Random) -> None:
        """A good trace with a table of tracepoints that is not."""
        self.path.write_bytes(self.pair.read_bytes())
        table = self.events
        if rng.random() < 0.5:
            target = rng.choice((table_path(self.path, "tracepoints"), table_stream_path(self.path, "tracepoints")))
            data = put(
                table.schema,
                list(table.batches()),
                next(table.batches()).slice(0, 0),
                summary_metadata(table.summary),
                *rng.choice(WAYS),
            )
            data = bytesmutation.mutated(rng, data, framing(data))
            target.write_bytes(resealed(data) if rng.random() < 0.7 else data)
            return
        batches = [odd_rows(rng, batch) for batch in table.batches()]
        summary = summary_metadata(oddities.changed(rng, table.summary))
        data = put(table.schema, batches, batches[0].slice(0, 0), summary, *rng.choice(WAYS))
        table_path(self.path, "tracepoints").write_bytes(data)
        if rng.random() < 0.5:
            trace = self.tables[self.pair]
            data = put(
                trace.schema,
                list(trace.batches()),
                empty(trace.schema),
                summary_metadata(oddities.changed(rng, trace.summary)),
                *rng.choice(WAYS),
            )
            self.path.write_bytes(data)

    def bomb(self, rng: random.Random) -> bytes:
        """A small file that says it is large."""
        return rng.choice(bombs(self.tables[self.good]))

    def check(self, rng: random.Random) -> None:
        """Read the mutated file, and run commands over it: they agree, and end as the documentation says."""
        replace = {"GOOD": str(self.good), "FILE": str(self.path_given)}
        chosen = rng.sample(COMMANDS, 2)
        if any(self.folder.glob("x.tracepoints*")):
            chosen = [("tracepoints",), chosen[0]]
        try:
            with contextlib.suppress(UserWarning):
                tracer.load(self.path_given)
            refused = None
        except tracer.TraceError as error:
            refused = str(error)
        for command in chosen:
            name, *options = command
            options = [replace.get(word, word.replace(OUT, str(self.folder / "OUT"))) for word in options]
            # What FILE is stands before what is written and asked.
            arguments = [name, str(self.path_given), *options]
            status, _, err = statuses("vmtrace", arguments)
            assert status in ((0, 1, 2) if name == "diff" else (0, 2)), f"status {status}"
            assert (status == 2) == bool(err and status == 2), "status 2 without a word"
            follows = (
                name in ("top", "recover")
                or "--follow" in options
                or (name == "convert" and refused and "Parquet" in refused)
            )
            if refused is not None and not follows:
                assert status == 2, f"{command} reads what load() refuses: {refused}"
        left = [path.name for path in self.folder.iterdir() if path.suffix == ".tmp"]
        assert not left, f"left behind: {left}"


def plain(text: str) -> str:
    """Text that Arrow's metadata can hold."""
    return text.encode(errors="replace").decode()


def odd_rows(rng: random.Random, batch: Any) -> Any:
    """A batch with other values in some columns."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        index = rng.randrange(batch.num_columns)
        field = batch.schema.field(index)
        column = batch.column(index)
        rows = len(column)
        if not rows:
            return batch
        if pa.types.is_dictionary(field.type):
            match rng.randrange(3):
                case 0:
                    codes = [rng.choice((0, 1, 2, 3, 100, -1)) for _ in range(rows)]
                    column = pa.DictionaryArray.from_arrays(
                        pa.array(codes, field.type.index_type), column.dictionary, safe=False
                    )
                case 1:
                    codes = column.indices.take(pa.array(rng.choices(range(rows), k=rows)))
                    column = pa.DictionaryArray.from_arrays(codes, column.dictionary, safe=False)
                case 2:
                    names = [rng.choice((name, "", "\x1b[2J", "x" * 3000)) for name in column.dictionary.to_pylist()]
                    column = pa.DictionaryArray.from_arrays(column.indices, pa.array(names, pa.utf8()), safe=False)
        elif pa.types.is_binary(field.type):
            column = pa.array(
                [rng.choice((b"", b"\xff\x00\x1b", bytes(rng.choice((9, 4096))))) for _ in range(rows)], field.type
            )
        else:
            bits = field.type.bit_width
            low, high = (
                (-(1 << bits - 1), (1 << bits - 1) - 1)
                if pa.types.is_signed_integer(field.type)
                else (0, (1 << bits) - 1)
            )
            one = rng.choice((low, high, 0, high // 2, rng.randint(low, high)))
            values = column.to_pylist()
            match rng.randrange(5):
                case 0:
                    values = [one] * rows
                case 1:
                    values[rng.randrange(rows)] = one
                case 2:
                    values.reverse()
                case 3:
                    values = [rng.randint(low, high) for _ in values]
                case 4:
                    values = [rng.choice((low, high, value)) for value in values]
            column = pa.array(values, field.type)
        batch = batch.set_column(index, field, column)
    return batch


def put(
    schema: Any, batches: list[Any], closing: Any, custom: dict[str, str], new: Any, options: Any, sealed: bool
) -> bytes:
    """A file or stream of batches."""
    sink = pa.BufferOutputStream()
    # A file has one dictionary of each column: of batches that differ in them only a stream can be made.
    if new is pa.ipc.new_file:
        table = pa.Table.from_batches(batches, schema=schema).unify_dictionaries().combine_chunks()
        batches = table.to_batches()
        closing = batches[0].slice(0, 0) if batches else closing
    if sealed:
        with SealedWriter(sink, schema, new, options) as writer:
            for batch in batches:
                writer.write(batch)
            writer.write(closing, custom)
    else:
        with new(sink, schema, options=options) as plain_writer:
            for batch in batches:
                plain_writer.write_batch(batch)
            plain_writer.write_batch(closing, custom_metadata=custom)
    return sink.getvalue().to_pybytes()


WAYS = [(new, options, sealed) for new in (pa.ipc.new_file, pa.ipc.new_stream) for options, sealed in
        ((None, True), (ZSTD, True), (None, False), (LZ4, False))]  # fmt: skip


def written(trace: Any, new: Any, options: Any, sealed: bool) -> bytes:
    """A good trace in one of the ways, in several batches."""
    (batch,) = trace.batches()
    pieces = [batch.slice(at, max(len(batch) // 3, 1)) for at in range(0, len(batch), max(len(batch) // 3, 1))]
    return put(trace.schema, pieces, batch.slice(0, 0), summary_metadata(trace.summary or {}), new, options, sealed)


@lru_cache(64)
def framing(data: bytes) -> tuple[int, ...]:
    """Offsets of what declares sizes: the messages' prefixes and metadata, sizes of packed buffers, the footer."""
    places: list[int] = []
    at = max(data.find(b"\xff\xff\xff\xff", 0, 16), 0)
    with contextlib.suppress(DamageError, CutError):
        while (message := next_message(lambda at, size: data[at : at + size], at, len(data))).kind != "end":
            body = at + message.size - message.body
            places += [at, at + 4, *range(at + 8, body, 4)]
            places += [body + start for start, length in message.buffers if length]
            at += message.size
        places += range(at, len(data), 4)
    return tuple(places)


def resealed(data: bytes) -> bytes:
    """The data with the seals that its batches would have, as far as messages are found in it."""
    changed = bytearray(data)
    at = max(data.find(b"\xff\xff\xff\xff", 0, 16), 0)
    first = at
    with contextlib.suppress(DamageError, CutError):
        while (message := next_message(lambda at, size: data[at : at + size], at, len(data))).kind != "end":
            value = message.custom.get(keys.SEAL.encode())
            if message.kind == "batch" and value is not None and value.stop - value.start == 8:
                place = slice(at - first + value.start, at - first + value.stop)
                changed[first + place.start : first + place.stop] = seal(changed[first : at + message.size], place)
            at += message.size
            if message.kind == "batch":
                first = at
    return bytes(changed)


_BOMBS: list[bytes] = []


def bombs(trace: Any) -> list[bytes]:
    """Files of a few KiB that unpack to many MiB, or say so."""
    if not _BOMBS:
        (batch,) = trace.batches()
        for rows, payload in ((1_000_000, 0), (20_000, 4000), (2_000, 100_000)):
            table = pa.Table.from_batches([batch.slice(0, 1)]).combine_chunks()
            table = pa.concat_tables([table] * 1000).combine_chunks()
            while table.num_rows < rows:
                table = pa.concat_tables([table] * 2).combine_chunks()
            if payload:
                index = table.column_names.index("payload")
                column = pa.array([bytes(payload)] * table.num_rows, pa.binary())
                table = table.set_column(index, trace.schema.field("payload"), column)
            for new in (pa.ipc.new_file, pa.ipc.new_stream):
                _BOMBS.append(put(trace.schema, table.to_batches(), batch.slice(0, 0), {}, new, ZSTD, True))
        packed = written(trace, pa.ipc.new_stream, ZSTD, False)
        for place in framing(packed):
            for size in (1 << 30, 1 << 34, (1 << 62)):
                changed = bytearray(packed)
                changed[place : place + 8] = struct.pack("<q", size)
                _BOMBS.append(bytes(changed))
    return _BOMBS

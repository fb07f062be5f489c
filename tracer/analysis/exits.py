"""How often and how long: exits grouped by their properties, with the distribution of their handling time.

The handling time of an exit is ``t_entry - t_exit``: from the return of KVM_RUN to the next call. The columns are those
of ``perf kvm stat report``, which calls an exit a sample. In perf, an exit's time lasts from the guest's exit to its
next entry, in KVM and userspace together. Here it is the part outside KVM_RUN, and exits that KVM handles itself are
not counted (:mod:`tracer.analysis.counters` counts them).

Quantiles come from a histogram. A bucket is the float32 of the time with 7 of its 23 mantissa bits: 128 buckets per
power of two, each of a relative width below 0.79 %. Each bucket keeps its count and its least and greatest time. A
quantile is exact if its rank is the first or the last of a bucket, and else the middle of the two: less than 0.4 % from
the true value. Counts, sums, least and greatest are always exact.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from tracer.analysis.scan import Grouping, regroup, scan
from tracer.analysis.tables import WHAT
from tracer.read.reader import Trace

KEYS = ("reason", "device", "addr", "direction", "size", "vcpu", "rip")
SHIFT = 23 - 7  # of a float32's bits: the rest is the bucket
MEDIAN, P99 = (1, 2), (99, 100)  # quantiles as fractions: a rank is computed without rounding

_AGGREGATES: Mapping[str, tuple[str, str]] = {
    "exits": ("handling", "count"),
    "handling_ns": ("handling", "sum"),
    "min_ns": ("handling", "min"),
    "max_ns": ("handling", "max"),
}
_MOVED = {"items": ("count", "sum")}

# name, Arrow type, unit, whether a narrow terminal leaves it out, doc
_COLUMNS = (
    ("exits", "int64", "", False, "number of exits"),
    ("exits_share", "float64", "share", True, "share of all exits"),
    ("handling_share", "float64", "share", False, "share of the handling time of all exits"),
    ("min_ns", "int64", "ns", True, "shortest handling time"),
    ("max_ns", "int64", "ns", False, "longest handling time"),
    ("mean_ns", "float64", "ns", False, "mean handling time"),
    ("median_ns", "int64", "ns", False, "median handling time, with an error below 0.4 %"),
    ("p99_ns", "int64", "ns", False, "99th percentile of the handling time, with an error below 0.4 %"),
    ("handling_ns", "int64", "ns", False, "total handling time"),
    ("bytes", "int64", "bytes", True, "bytes transferred: items times their size"),
)
_KEPT = ("exits", "handling_share", "handling_ns")  # kept longest on a narrow terminal
_KEY_COLUMNS = {
    "reason": ("utf8", "", "KVM exit reason"),
    "device": ("utf8", "", "device that claims the address; - if none does"),
    "addr": (
        "uint64",
        "address",
        "port, guest-physical address or MSR; null: the rest, if there are too many addresses",
    ),
    "what": ("utf8", "", WHAT),
    "region": ("uint8", "", "index of the device's region"),
    "direction": ("utf8", "", "read, write or none"),
    "size": ("uint8", "bytes", "size of one item"),
    "vcpu": ("uint16", "", "index of the vCPU"),
    "rip": ("uint64", "address", "guest RIP at the exit; 0 if unknown; null: the rest, if there are too many RIPs"),
    "symbol": ("utf8", "", "symbol that contains the RIP; in brackets the kind of a RIP without a symbol"),
    "place": ("utf8", "", "symbol, and the offset from it"),
}


def schema(keys: Sequence[str]) -> Any:
    """The ``pyarrow.Schema`` of :meth:`Tally.table` for these keys; fields carry unit and doc."""
    import pyarrow as pa

    fields = []
    for name in keys:
        kind, unit, doc = _KEY_COLUMNS[name]
        more = {"detail": "1"} if name == "rip" and "place" in keys else {}
        fields.append(pa.field(name, pa.type_for_alias(kind), metadata={"unit": unit, "doc": doc, **more}))
    for name, kind, unit, detail, doc in _COLUMNS:
        more = {"detail": "1"} if detail else {"keep": "1"} if name in _KEPT else {}
        fields.append(pa.field(name, pa.type_for_alias(kind), metadata={"unit": unit, "doc": doc, **more}))
    return pa.schema(fields)


def grouping(by: Sequence[str]) -> Grouping:
    """The grouping that :func:`tracer.analysis.scan.scan` needs for :class:`Tally`."""
    keys = tuple(dict.fromkeys([*by, "size"]))  # bytes are items times size
    fold = tuple(key for key in ("rip", "addr") if key in keys)
    columns = ("t_exit", "t_entry", "count", *keys)
    return Grouping(columns, (*keys, "bucket"), {**_AGGREGATES, **_MOVED}, _prepare, fold)


@frozen
class Tally:
    """Exits counted by keys and buckets of their handling time, from which tables by fewer keys are made.

    ``exits`` and ``handling_ns`` are the totals of all exits, of which shares are computed.
    """

    groups: Any
    exits: int
    handling_ns: int

    @classmethod
    def of(cls, groups: Any) -> "Tally":
        """The tally from the result of a scan by :func:`grouping`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        moved = pc.multiply(groups["items"].cast(pa.int64()), groups["size"].cast(pa.int64()))
        exits, time = (pc.sum(groups[name]).as_py() or 0 for name in ("exits", "handling_ns"))
        return cls(groups.drop_columns(["items"]).append_column("bytes", moved), exits, time)

    def with_key(self, name: str, values: Any) -> "Tally":
        """The tally with one more key, with a value for each row of ``groups``."""
        return evolve(self, groups=self.groups.append_column(name, values))

    def where(self, mask: Any) -> "Tally":
        """The tally of the groups whose mask is true; shares are still of all exits."""
        return evolve(self, groups=self.groups.filter(mask))

    def table(self, by: Sequence[str], sort: str = "exits") -> Any:
        """One row per group of :func:`schema`, by exits (or ``sort``) in descending order, then by the keys."""
        import pyarrow as pa
        import pyarrow.compute as pc

        keys = list(by)
        numbers = {name: ("", function) for name, (_, function) in _AGGREGATES.items()} | {"bytes": ("", "sum")}
        buckets = regroup(self.groups, [*keys, "bucket"], numbers)
        buckets = buckets.sort_by([*((key, "ascending") for key in keys), ("bucket", "ascending")])
        table = regroup(buckets, keys, numbers) if keys else _total(buckets, numbers)
        table = table.sort_by([(sort, "descending"), *((key, "ascending") for key in keys)])
        wanted = schema(keys)
        quantiles = _quantiles(buckets, keys, table)
        columns = {name: table[name] for name in table.column_names} | {
            "exits_share": _share(table["exits"], self.exits),
            "handling_share": _share(table["handling_ns"], self.handling_ns),
            "mean_ns": pc.divide(table["handling_ns"].cast(pa.float64(), safe=False), table["exits"].cast("float64")),
            "median_ns": pa.array([median for median, _ in quantiles], pa.int64()),
            "p99_ns": pa.array([p99 for _, p99 in quantiles], pa.int64()),
        }
        return pa.table({field.name: columns[field.name] for field in wanted}).cast(wanted)


def by(trace: Trace, *keys: str, sort: str = "exits") -> Any:
    """The exits of a trace grouped by keys of :data:`KEYS`, in one pass; see :func:`schema` for the columns."""
    return Tally.of(scan(trace, grouping(keys))[0]).table(keys, sort)


def _prepare(batch: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    handling = pc.subtract(batch["t_entry"], batch["t_exit"])
    single = pc.cast(handling, pa.float32(), safe=False)
    bits = pa.Array.from_buffers(pa.int32(), len(single), [None, single.buffers()[1]], offset=single.offset)
    bucket = pc.shift_right(bits, pa.scalar(SHIFT, pa.int32()))
    return batch.drop_columns(["t_exit", "t_entry"]).append_column("handling", handling).append_column("bucket", bucket)


def _total(buckets: Any, numbers: Mapping[str, tuple[str, str]]) -> Any:
    """One row for all rows, none if there are none."""
    import pyarrow as pa

    table = buckets.append_column("all", pa.nulls(buckets.num_rows))
    return regroup(table, ["all"], numbers).drop_columns(["all"])


def _share(column: Any, total: int) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.divide(column.cast(pa.float64(), safe=False), pa.scalar(float(total or 1)))


def _quantiles(buckets: Any, keys: Sequence[str], table: Any) -> list[tuple[int, int]]:
    """Median and 99th percentile of each row of ``table``, from its buckets in rising order."""
    histograms: dict[tuple[Any, ...], list[tuple[int, int, int]]] = {}
    columns = [buckets[name].to_pylist() for name in ("exits", "min_ns", "max_ns")]
    names = zip(*(buckets[key].to_pylist() for key in keys), strict=True) if keys else ((),) * buckets.num_rows
    for name, bucket in zip(names, zip(*columns, strict=True), strict=True):
        histograms.setdefault(name, []).append(bucket)
    order = zip(*(table[key].to_pylist() for key in keys), strict=True) if keys else ((),) * table.num_rows
    return [(quantile(histograms[name], MEDIAN), quantile(histograms[name], P99)) for name in order]


def quantile(histogram: Sequence[tuple[int, int, int]], fraction: tuple[int, int]) -> int:
    """The value of rank ``ceil(fraction * exits)`` in buckets of (exits, least, greatest), lowest first.

    Exact where that is the first or last of its bucket, else the middle of the bucket's two ends.
    """
    total = sum(exits for exits, _, _ in histogram)
    rank = max(-(-total * fraction[0] // fraction[1]), 1)
    for exits, least, greatest in histogram:
        if rank <= exits:
            return least if rank == 1 else greatest if rank == exits else (least + greatest) // 2
        rank -= exits
    raise ValueError("a quantile of nothing")

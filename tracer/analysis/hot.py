"""The instructions and functions of the guest that exit, and what they access: RIPs and symbols ranked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from tracer.analysis.exits import Tally, grouping, schema
from tracer.analysis.scan import scan
from tracer.analysis.symbols import namer
from tracer.analysis.tables import ACCESS, access_names
from tracer.decode.regions import Regions
from tracer.read.reader import Trace

BY = ("reason", "device", "addr", "what", "direction", "size", "vcpu")


def schemas(by: Sequence[str] = ("device",)) -> dict[str, Any]:
    """The schemas of :class:`Hot`'s tables."""
    return {"symbols": schema(["symbol", *by]), "rips": schema(["place", "rip", *by])}


@frozen
class Hot:
    """Exits by ``symbol`` and by ``rip``, each with the requested keys (:func:`tracer.analysis.exits.schema`, most
    exits first). ``source`` says where names come from. ``tally`` has all of it."""

    symbols: Any
    rips: Any
    source: str
    tally: Tally


def hot(
    trace: Trace,
    by: Sequence[str] = ("device",),
    *,
    symbols: Path | None = None,
    offset: int | None = None,
    sort: str = "exits",
) -> Hot:
    """Rank a trace's RIPs, in one pass over its file. ``by`` are keys of :data:`BY` that divide them further.

    ``symbols`` is a System.map, a vmlinux or a bzImage, by default the one that the trace's spec names. ``offset`` is
    the KASLR offset, by default detected. Raises TraceError if a given file has no symbols.
    """
    import pyarrow as pa

    keys = [key for key in by if key != "what"] + (list(ACCESS) if "what" in by else [])
    groups = scan(trace, grouping(("rip", "reason", *keys)))[0]
    rips = groups["rip"].to_pylist()
    ports = {rip for rip, reason in zip(rips, groups["reason"].to_pylist(), strict=True) if rip and reason == "io"}
    names = namer(trace, list(ports), symbols, offset)
    known = {rip: names.name(rip) for rip in set(rips)}
    tally = Tally.of(groups)
    tally = tally.with_key("symbol", pa.array([known[rip][0] for rip in rips], pa.utf8()))
    if "what" in by:
        tally = tally.with_key("what", pa.array(access_names(groups, Regions(trace.metadata)), pa.utf8()))
    tally = tally.with_key("place", pa.array([known[rip][1] for rip in rips], pa.utf8()))
    return Hot(tally.table(["symbol", *by], sort), tally.table(["place", "rip", *by], sort), names.source, tally)


def collapsed(tally: Tally, by: Sequence[str], weight: str = "exits") -> Iterator[str]:
    """Folded stacks, as flame graph programs read them: keys and symbol with semicolons, a space, the weight."""
    table = tally.table([*by, "symbol"], weight)
    for *frames, value in zip(*(table[name].to_pylist() for name in (*by, "symbol", weight)), strict=True):
        yield ";".join(_frame(frame) for frame in frames) + f" {value}"


def _frame(value: object) -> str:
    """A frame's name, without the characters that separate frames and weights."""
    return "".join(char if char.isprintable() and char not in "; " else "_" for char in str(value))

"""The rates of a machine as blocks of text: what ``vmtrace top`` shows."""

from collections.abc import Iterable, Mapping
from typing import Any

from tracer.analysis.rates import Counts, Rates, place_name
from tracer.output import duration
from vmspec.printable import printable

PLACES = 12  # lines of ports, addresses and MSRs
OTHERS = 6  # lines of each of the shorter tables


def screen(title: str, rates: Rates, final: bool, width: int, height: int | None = None) -> str:
    """A screen: rates since the last turn, or of the whole run where ``final``; plain text, no wider than ``width``.

    ``height`` is how many lines there are; of the longest table as many are shown as fit.
    """
    span = rates.last_ns if final else rates.span_ns
    exits = sum(_exits(counts, final) for counts in rates.vcpus.values())
    total = sum(counts.exits for counts in rates.vcpus.values())
    lines = [f"{title}: {total:,} exits in {duration(rates.last_ns)}; {_rate(exits, span)} exits/s", ""]
    lines += _vcpus(rates, final, span)
    lines += ["", *_table("reason", rates.by("reason"), final, span, OTHERS)]
    lines += ["", *_table("device", rates.by("device"), final, span, OTHERS)]
    names: dict[str, Counts] = {}
    for place, counts in rates.places.items():
        if place.addr or place.direction != "none":
            device = "" if place.device == "-" else f"  {place.device}"
            names.setdefault(f"{place.direction:<5} {place_name(place)}{device}", Counts()).merge(counts)
    room = PLACES if height is None else max(3, min(PLACES, height - len(lines) - 3))
    lines += ["", *_table("access", names, final, span, room)]
    return "\n".join(line[:width] for line in lines)


def _vcpus(rates: Rates, final: bool, span: int) -> Iterable[str]:
    yield f"  {'vCPU':<6}{'exits/s':>12}{'exits':>14}{'in vmrun':>10}{'halted':>8}{'KVM_RUN':>9}"
    for vcpu, counts in sorted(rates.vcpus.items()):
        halted = _time(rates.halts.get(vcpu, Counts()), final)
        handled = _time(counts, final) - halted
        guest = max(span - handled - halted, 0)
        shares = "".join(_share(part, span).rjust(size) for part, size in ((handled, 10), (halted, 8), (guest, 9)))
        yield f"  {vcpu:<6}{_rate(_exits(counts, final), span):>12}{counts.exits:>14,}{shares}"


def _table(head: str, found: Mapping[str, Counts], final: bool, span: int, limit: int) -> Iterable[str]:
    """Most frequent first. The share is the handling time's of the time passed, which several vCPUs can exceed."""
    ordered = sorted(found.items(), key=lambda item: (-_exits(item[1], final), -item[1].exits, item[0]))
    yield f"  {'exits/s':>12}{'exits':>14}{'handling':>10}{'each':>10}   {head}"
    for name, counts in ordered[:limit]:
        exits, time = _exits(counts, final), _time(counts, final)
        each = duration(time // exits) if exits else "-"
        yield f"  {_rate(exits, span):>12}{counts.exits:>14,}{_share(time, span):>10}{each:>10}   {printable(name)}"
    if len(ordered) > limit:
        yield f"  {'':46}   and {len(ordered) - limit:,} more"


def _exits(counts: Counts, final: bool) -> int:
    return counts.exits if final else counts.new_exits


def _time(counts: Counts, final: bool) -> int:
    return counts.handling_ns if final else counts.new_handling_ns


def _rate(exits: int, span: int) -> str:
    return f"{exits * 1e9 / span:,.0f}" if span else "0"


def _share(part: int, span: int) -> str:
    return f"{part / span:.1%}" if span else "-"


def live(text: Any) -> Any:
    """What rich shows of a screen: the text as it is."""
    from rich.text import Text

    return Text(text, no_wrap=True, overflow="crop")

"""The rates of a machine as blocks of text, for ``vmtrace top``."""

from collections.abc import Iterable, Mapping
from typing import Any

from tracer.analysis.account import Account
from tracer.analysis.rates import Counts, Rates, place_name
from tracer.decode.regions import Regions
from tracer.format.words import counted
from tracer.read.vitals import PAUSED, STOPPED, VMRUN, Vitals
from tracer.show.output import duration
from vmspec.host.printable import printable

PLACES = 12  # lines of ports, addresses and MSRs
OTHERS = 6  # lines of each of the shorter tables


def screen(
    title: str,
    rates: Rates,
    times: Account | Vitals | None,
    width: int,
    height: int | None = None,
    regions: Regions = Regions({}),  # noqa: B008 (it never changes)
) -> str:
    """A screen of plain text, no wider than ``width``. For a run that has ended, with its account of time, it has the
    rates of the whole run; else those since the last turn, and what the vCPUs do now if known.

    ``height`` is the number of lines; the longest table shows as many rows as fit. ``regions`` are the devices'.
    """
    final = isinstance(times, Account)
    length = times.end if isinstance(times, Account) else rates.last_ns
    span = length if final else rates.span_ns
    exits = sum(_exits(counts, final) for counts in rates.vcpus.values())
    total = sum(counts.exits for counts in rates.vcpus.values())
    lines = [f"{title}: {counted(total, 'exit')} in {duration(length)}; {_rate(exits, span)} exits/s", ""]
    lines += _ended(rates, times) if isinstance(times, Account) else _running(rates, times)
    lines += ["", *_table("reason", rates.by("reason"), final, span, OTHERS)]
    lines += ["", *_table("device", rates.by("device"), final, span, OTHERS)]
    names: dict[str, Counts] = {}
    for place, counts in rates.places.items():
        if place.addr or place.direction != "none":
            names.setdefault(f"{place.direction:<5} {place_name(place, regions)}", Counts()).merge(counts)
    room = PLACES if height is None else max(3, min(PLACES, height - len(lines) - 3))
    lines += ["", *_table("access", names, final, span, room)]
    return "\n".join(printable(line)[:width] for line in lines)


HEAD = f"  {'vCPU':<6}{'exits/s':>11}{'exits':>13}{'in vmrun':>10}{'halted':>8}{'KVM_RUN':>9}"


def _running(rates: Rates, now: Vitals | None) -> Iterable[str]:
    """The vCPUs since the last turn, with what each does now and the time since its last exit."""
    yield f"{HEAD}{'now':>9}{'last exit':>11}"
    vcpus = now.vcpus if now is not None else {}
    for vcpu in sorted({*rates.vcpus, *vcpus}):
        counts = rates.vcpus.get(vcpu, Counts())
        halted = rates.halts.get(vcpu, Counts()).new_handling_ns
        handled = counts.new_handling_ns - halted
        vital = vcpus.get(vcpu)
        if vital is not None and vital.now == VMRUN and vital.last_exit is not None:  # an exit that has no row yet
            handled += max(rates.last_ns - max(vital.last_exit, rates.turned_ns), 0)
        still = vital is not None and vital.now in (PAUSED, STOPPED)
        guest = 0 if still else max(rates.span_ns - handled - halted, 0)
        line = _vcpu(vcpu, counts.new_exits, counts.exits, (handled, halted, guest), rates.span_ns)
        if vital is not None:
            last = None if vital.last_exit is None else max(rates.last_ns - vital.last_exit, 0)
            line += f"{vital.now:>9}{'none' if last is None else duration(last):>11}"
        yield line


def _ended(rates: Rates, times: Account) -> Iterable[str]:
    """The vCPUs over the whole run; halted is time in vmrun or in KVM, KVM_RUN is without it."""
    yield HEAD
    for vcpu, life in times.vcpus.items():
        hlt, halted = rates.halts.get(vcpu, Counts()).handling_ns, life.halted_ns or 0
        parts = life.handling_ns - hlt, hlt + halted, life.kvm_run_ns - halted
        yield _vcpu(vcpu, life.exits, life.exits, parts, times.end)


def _vcpu(vcpu: int, new: int, exits: int, parts: tuple[int, int, int], span: int) -> str:
    shares = "".join(_share(part, span).rjust(size) for part, size in zip(parts, (10, 8, 9), strict=True))
    return f"  {vcpu:<6}{_rate(new, span):>11}{exits:>13,}{shares}"


def _table(head: str, found: Mapping[str, Counts], final: bool, span: int, limit: int) -> Iterable[str]:
    """Most frequent first. The share is handling time per time passed; with several vCPUs it can exceed 100 %."""
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
    rate = exits * 1e9 / span if span else 0.0
    return f"{rate:,.0f}" if rate >= 9.95 or not rate else f"{rate:.2g}"


def _share(part: int, span: int) -> str:
    return f"{part / span:.1%}" if span else "-"


def live(text: Any) -> Any:
    """A screen for rich: the text as it is."""
    from rich.text import Text

    return Text(text, no_wrap=True, overflow="crop")

"""What the guest must write to named ports of its virtio consoles."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runner.expect.unmet import SHOWN, Unmet
from vmspec.plan.settings import PlannedVerdict

LONGEST = 64 << 10  # bytes of a line of JSON


def unmet(verdicts: Iterable[PlannedVerdict], ports: Mapping[str, bytes]) -> Iterator[Unmet]:
    """The verdicts that the last line of a port is not. ``ports`` is what the guest wrote to each."""
    for verdict in verdicts:
        line = last_line(ports.get(verdict.port, b""))
        expected = f"the line {verdict.text!r}" if verdict.text is not None else f"JSON with {dict(verdict.members)!r}"
        came = _different(verdict, line)
        if came is not None:
            look = f"vmtrace console --device {verdict.console}"
            yield Unmet(verdict.key, f"{expected} as the last on the port {verdict.port}", came, look)


def last_line(written: bytes) -> bytes:
    """The last line that is not empty."""
    return written.rstrip(b"\r\n").rpartition(b"\n")[2].rstrip(b"\r")


def _different(verdict: PlannedVerdict, line: bytes) -> str | None:
    """Why a line is not the verdict; None: it is."""
    text = line.decode("utf-8", "replace")
    if not line:
        return "the guest wrote no line to it"
    if verdict.text is not None:
        return None if text == verdict.text else f"it is {text[:SHOWN]!r}"
    if len(line) > LONGEST:
        return f"it has {len(line):,} bytes, more than {LONGEST:,}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return f"it is not JSON: {text[:SHOWN]!r}"
    path = missing(verdict.members, value)
    return None if path is None else f"{path or 'it'} is different in {text[:SHOWN]!r}"


def missing(expected: Any, value: Any, path: str = "") -> str | None:
    """Where a value of JSON lacks what is expected: the members of a table must be there and equal, at any depth; what
    is in no table must be equal, and of the same type. None: nowhere."""
    if isinstance(expected, Mapping):
        if not isinstance(value, dict):
            return path
        for name, part in expected.items():
            where = f"{path}.{name}" if path else name
            if name not in value:
                return where
            if (found := missing(part, value[name], where)) is not None:
                return found
        return None
    if isinstance(expected, list | tuple):
        if not isinstance(value, list) or len(value) != len(expected):
            return path
        parts = (
            missing(one, other, f"{path}[{n}]") for n, (one, other) in enumerate(zip(expected, value, strict=True))
        )
        return next((part for part in parts if part is not None), None)
    same = isinstance(expected, bool) == isinstance(value, bool) and expected == value  # True == 1
    return None if same else path

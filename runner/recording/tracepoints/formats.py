"""The kernel's published formats of its tracepoints: tracefs' ``events/kvm/NAME/id`` and ``format``.

See Documentation/trace/events.rst, "Event formats": a line for each field of the raw record, with its offset, size and
sign. A kernel's format is data: only the names of fields are known in advance.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from runner.kvm.errors import HostError
from vmspec.trace.events import NEEDED, Into

PLACES = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
WIDTHS = (1, 2, 4, 8)
LIMIT = 1 << 16  # bytes of a raw record, and of a format's text

FIELD = re.compile(
    r"^\s*field:(?P<type>[^;]*?)\s*\b(?P<name>\w+)(?P<array>\[\w*\])?;"
    r"\s*offset:(?P<offset>\d{1,9});\s*size:(?P<size>\d{1,9});(?:\s*signed:(?P<signed>[01]);)?\s*$",
    re.MULTILINE,
)
ID = re.compile(r"^ID:\s*(\d{1,9})\s*$", re.MULTILINE)
MOUNT = "mount -t tracefs nodev /sys/kernel/tracing"


class Field(NamedTuple):
    """A number in an event's raw record: ``size`` is 1, 2, 4 or 8 bytes."""

    offset: int
    size: int
    signed: bool


class Format(NamedTuple):
    """An event's id, with which its raw records begin, and by name those of its fields that are single numbers."""

    id: int
    fields: dict[str, Field]

    def chosen(self, wanted: Sequence[Into]) -> list[tuple[Into, Field]]:
        """This kernel's fields that are kept, each by the first of its names."""
        found = []
        for into in wanted:
            name = next((name for name in into.names if name in self.fields), None)
            if name is not None:
                found.append((into, self.fields[name]))
        return found


def parse(text: str) -> Format:
    """Parse a ``format`` file. Arrays, strings and bit fields are left out. Raises ValueError if it is not a format."""
    number = ID.search(text)
    if number is None or not 0 < int(number[1]) < 1 << 16:
        raise ValueError("it has no line with the event's ID")
    fields: dict[str, Field] = {}
    for match in FIELD.finditer(text):
        field = Field(int(match["offset"]), int(match["size"]), match["signed"] == "1")
        if field.size in WIDTHS and field.offset + field.size <= LIMIT and match["array"] is None:
            fields.setdefault(match["name"], field)
    if "common_type" not in fields:
        raise ValueError("it has no field common_type")
    return Format(int(number[1]), fields)


def read(wanted: Iterable[str], places: Sequence[Path] = PLACES) -> dict[str, Format]:
    """The formats of the ``wanted`` KVM events that this kernel has, by name.

    Raises HostError, which says what to do, if tracefs cannot be read or lacks an event that is essential.
    """
    directory = _directory(places)
    formats = {}
    for name in wanted:
        path = directory / name / "format"
        try:
            with path.open() as file:
                formats[name] = parse(file.read(LIMIT))
        except FileNotFoundError:
            continue
        except PermissionError as error:
            raise HostError(f"{path} cannot be read: {error.strerror}; {RIGHTS}") from error
        except (OSError, ValueError) as error:
            raise HostError(f"{path} is not a tracepoint format: {error}") from error
    if lacking := [name for name in NEEDED if name not in formats]:
        raise HostError(f"this kernel has no tracepoint {', '.join(lacking)} in {directory}")
    return formats


RIGHTS = "tracepoints need root, or CAP_PERFMON and read access to tracefs (mount option gid=)"


def _directory(places: Sequence[Path]) -> Path:
    """``events/kvm`` of the mounted tracefs."""
    for place in places:
        directory = place / "events" / "kvm"
        try:
            if next(directory.iterdir(), None) is not None:
                return directory
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise HostError(f"{error.filename} cannot be read: {error.strerror}; {RIGHTS}") from error
    if any((place / "events").is_dir() for place in places):
        raise HostError("tracefs has no kvm events: the kvm module is not loaded, or is built without tracepoints")
    raise HostError(f"tracefs is not mounted: as root, {MOUNT}")

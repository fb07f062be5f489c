"""Reading the data set of a campaign."""

from pathlib import Path
from typing import Any, NamedTuple

from tracer.format.errors import TraceError
from vmspec.trace.campaigns import DATA, JOURNAL, SET

# The columns that the analyses use; docs/campaigns.md has all.
COLUMNS = "spec", "status", "kind", "error", "seconds", "exits", "handling_ns", "groups", "phases"


class Machine(NamedTuple):
    """One machine of a campaign: the name of its spec, and its overrides as texts by key."""

    spec: str
    values: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.spec}[{', '.join(f'{key}={value}' for key, value in self.values)}]" if self.values else self.spec


class Campaign(NamedTuple):
    """A campaign's rows, each a dictionary by the columns, by machine. ``waiting`` is the number of runs that are not
    in the data set yet: the campaign continues, or was killed."""

    machines: dict[Machine, list[dict[str, Any]]]
    waiting: int


def load(folder: Path) -> Campaign:
    """The campaign of a folder, or of its data set. Raises TraceError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / DATA if folder.is_dir() else folder
    try:
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError:
        raise TraceError(f"{path}: there is no such data set; vmrun campaign writes one") from None
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise TraceError(f"{path}: is not the data set of a campaign: {error}") from error
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise TraceError(f"{path}: is not the data set of a campaign: it has no column {missing[0]!r}")
    axes = sorted(name for name in table.column_names if name.startswith(SET))
    machines: dict[Machine, list[dict[str, Any]]] = {}
    try:
        for row in table.select([*COLUMNS, *axes]).to_pylist():
            values = ((name.removeprefix(SET), str(row[name])) for name in axes if row[name] is not None)
            machines.setdefault(Machine(Path(row["spec"]).stem, tuple(values)), []).append(row)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise TraceError(f"{path}: is damaged: {error}") from error
    return Campaign(machines, _waiting(path.with_name(JOURNAL)))


def _waiting(journal: Path) -> int:
    """How many runs the journal has."""
    try:
        return journal.read_bytes().count(b"\n")
    except OSError:
        return 0

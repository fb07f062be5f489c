"""The tables of a trace for reading: finished files, streams that grow or that a killed run left."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tracer.format.errors import TraceError
from tracer.format.fitting import Fitting, UnfitError
from tracer.format.rowfile import RowFile
from tracer.format.schema import names_of
from tracer.read.metadata import check_values, read_definition, read_metadata, read_summary
from vmspec.trace import keys
from vmspec.trace.files import BESIDE, exists, table_files
from vmspec.trace.record import EXITS
from vmspec.trace.table import Table
from vmspec.trace.tables import TABLES


def fitted(path: Path, table: Table, metadata: Mapping[str, str], schema: Any) -> Fitting:
    """How the columns of a file with this schema become those of the table. Raises TraceError if they cannot."""
    try:
        return Fitting(table, metadata, schema)
    except UnfitError as error:
        raise TraceError(
            f"{path} does not have the columns of the table {table.name} of format {table.format}: {error}"
        ) from None


class TableFile(RowFile):
    """One table of a run; ``definition`` describes its contents. Without one, it is whichever table the file has.

    ``metadata`` are the schema's keys and values. ``summary`` is the closing summary, None if the run has not ended
    cleanly. ``complete`` is False if rows may be missing at the end: the run continues, was killed, or was recovered.
    Raises TraceError for a file that is no such table, or is damaged.
    """

    definition: Table

    def __init__(self, path: Path, definition: Table | None = None) -> None:
        self._wanted = definition
        super().__init__(path)
        self.summary = None if self.closing is None else read_summary(path, self.closing, self.definition.summary)

    def _accepted(self, schema: Any) -> Fitting:
        self.definition = self._wanted or read_definition(schema)
        self.time = self.definition.time
        self.metadata = read_metadata(self.path, schema, self.definition)
        fitting = fitted(self.path, self.definition, self.metadata, schema)
        check_values(self.path, self.metadata, self.definition)
        return fitting

    @property
    def complete(self) -> bool:
        """Whether this is everything that the run recorded."""
        return self.summary is not None and self.summary.get("complete", True) is True

    @property
    def lost(self) -> list[int]:
        """Rows that were lost while the run recorded, by vCPU, from the summary; empty if it has none."""
        said: list[int] = (self.summary or {}).get("lost", [])
        return said

    @cached_property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The possible names of each column of names; a code is an index into them."""
        return {column: tuple(names.to_pylist()) for column, names in names_of(self.definition, self.metadata).items()}


class Tables(Mapping[str, TableFile]):
    """The tables of one run by name, opened on first use: the trace ``exits``, and those recorded beside it, with times
    by the run's clock. A damaged table raises TraceError."""

    def __init__(self, exits: TableFile) -> None:
        self._open: dict[str, TableFile | None] = {EXITS.name: exits}
        self._exits = exits

    def __getitem__(self, name: str) -> TableFile:
        if name not in self._open:
            self._open[name] = self._beside(TABLES[name])
        table = self._open[name]
        if table is None:
            raise KeyError(name)
        return table

    def __iter__(self) -> Iterator[str]:
        return (name for name in TABLES if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def there(self) -> list[str]:
        """Names of the tables beside the exits that are of this run. A damaged one counts: reading it reports that."""
        return [name for name in BESIDE if self._is_there(name)]

    def _is_there(self, name: str) -> bool:
        try:
            return name in self
        except TraceError:
            return True

    def need(self, name: str) -> TableFile:
        """A table that there has to be. Raises TraceError where it was not recorded."""
        found = self.get(name)
        if found is None:
            what, switch, where = TABLES[name].what, TABLES[name].switch, TABLES[name].where
            raise TraceError(
                f"there are no {what} beside {self._exits.path}: record them with {switch} = true "
                f"(vmrun --set {switch}=true)" + (f", {where}" if where else "")
            )
        return found

    def _beside(self, definition: Table) -> TableFile | None:
        path, clock = self._exits.path, self._exits.metadata.get(keys.CLOCK, "")
        for candidate in table_files(path, definition.name):
            if exists(candidate) and candidate.stat().st_size:
                table = TableFile(candidate, definition)
                if table.metadata.get(keys.CLOCK, "") == clock:
                    return table
        return None

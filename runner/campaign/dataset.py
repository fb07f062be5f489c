"""The data set of a campaign: ``runs.parquet``, a row for each run. Runs that have just ended are lines of a journal
until the file is written anew, so a kill at any moment loses no run that has ended, and counts none twice."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from runner.workers.folder import FolderError, held
from vmspec.host.atomic import replaced
from vmspec.trace.campaigns import DATA, JOURNAL, TRACES

FOLD = 20_000  # lines of the journal at which the file is written anew
GROUP = 64 << 10  # rows of a row group


class DataSet:
    """The folder of a campaign, made by :meth:`opened`. ``names`` are those of all runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: set[str] = set()
        self._rows = self._read()
        self.names |= {row["run"] for row in self._rows}
        self._journal = os.open(folder / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Self]:
        """Open the folder, or make it; nobody else may use it meanwhile. All rows are in the file at the end. Raises
        FolderError, OSError."""
        with held(folder, "campaign") as place:
            others = {path.name for path in place.iterdir()} - {DATA, JOURNAL, TRACES}
            if others:
                raise FolderError(f"{place}: it has other files, such as {min(others)}; choose a new folder with -o")
            (place / TRACES).mkdir(exist_ok=True)
            made = cls(place)
            try:
                yield made
            finally:
                try:
                    made.fold()
                finally:
                    os.close(made._journal)

    def _read(self) -> list[dict[str, Any]]:
        """The rows of the journal that the file does not have; a line that a kill has cut is removed."""
        path = self.folder / DATA
        if path.exists():
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                self.names |= set(pq.read_table(path, columns=["run"])["run"].to_pylist())
            except (pa.ArrowException, KeyError) as error:
                raise FolderError(f"{path}: is not the data of a campaign: {error}") from None
        rows = []
        with suppress(FileNotFoundError), (self.folder / JOURNAL).open("rb+") as file:
            text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            file.truncate(len(whole))
            try:
                rows = [json.loads(line) for line in whole.splitlines()]
                return [row for row in rows if row["run"] not in self.names]
            except (ValueError, KeyError, TypeError) as error:
                raise FolderError(f"{file.name}: is not the journal of a campaign: {error}") from None
        return rows

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a run's row. Raises OSError."""
        line = json.dumps(row).encode() + b"\n"
        while line:
            line = line[os.write(self._journal, line) :]
        self.names.add(row["run"])
        self._rows.append(dict(row))
        if len(self._rows) >= FOLD:
            self.fold()

    def fold(self) -> None:
        """Write the journal's rows into the file. Raises OSError."""
        if not self._rows:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        from runner.campaign.rows import alike, table

        new = table(self._rows)
        path = self.folder / DATA
        tables = [pq.read_table(path), new] if path.exists() else [new]
        whole = pa.concat_tables(alike(tables), promote_options="permissive")
        with replaced(path) as file:
            pq.write_table(whole, file, compression="zstd", row_group_size=GROUP)
        os.ftruncate(self._journal, 0)
        self._rows = []

    def size(self) -> int:
        """What the folder takes on disk, in bytes."""
        return sum(path.lstat().st_size for path in self.folder.rglob("*"))

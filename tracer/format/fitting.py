"""Fits the columns of a file to those of its table: releases add columns, and each reads the files of the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from tracer.format.schema import names_of, schema_of, zeros
from vmspec.trace.table import Table


class UnfitError(Exception):
    """A file lacks columns of its table; the message says which."""


class Fitting:
    """``schema`` is the table's in this release. A column that is newer than the file is all zero, the first name or
    empty. Columns unknown to this release are not read. Raises UnfitError."""

    def __init__(self, table: Table, metadata: Mapping[str, str], stored: Any) -> None:
        self.schema = schema_of(table, metadata)
        try:
            self._stored = {name: number for number, name in enumerate(stored.names)}
        except UnicodeDecodeError:
            raise UnfitError("the name of a column is damaged") from None
        if len(self._stored) < len(stored):
            raise UnfitError("two of its columns have one name")
        later = {column.name for column in table.columns if column.later}
        for field in self.schema:
            if field.name in self._stored:
                if not stored.field(self._stored[field.name]).equals(field):
                    raise UnfitError(f"its column {field.name} has the wrong type")
            elif field.name not in later:
                raise UnfitError(f"it has no column {field.name}")
        self._same = list(self._stored) == self.schema.names
        self._names = {} if self._same else names_of(table, metadata)

    def fields(self, columns: Sequence[str] | None) -> list[int] | None:
        """Numbers of the file's columns to read for the wanted ones; None: all."""
        if columns is None and self._same:
            return None
        wanted = self.schema.names if columns is None else columns
        return [self._stored[name] for name in wanted if name in self._stored]

    def fitted(self, batch: Any, columns: Sequence[str] | None) -> Any:
        """The wanted columns of a batch (None: all), in the table's order."""
        if self._same:
            return batch
        import pyarrow as pa

        fields = [field for field in self.schema if columns is None or field.name in columns]
        read = set(batch.schema.names)
        arrays = [
            batch[field.name] if field.name in read else zeros(field, batch.num_rows, self._names.get(field.name))
            for field in fields
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, batch.schema.metadata))

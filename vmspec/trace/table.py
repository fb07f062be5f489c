"""The definition of a table of a trace. :mod:`vmspec.trace.tables` lists them. Everything that writes, reads, recovers,
converts or documents a table uses its definition.

This module imports only :mod:`vmspec.trace.keys`, so that a build environment can read the definitions.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from vmspec.trace.keys import MetadataKind

# Kinds of values in the closing summary: true or false; a number from 0; a number that is a code; a time in ns; a list
# with one for each vCPU (times may be null); such a list of lists of starts and ends in ns; an object of single values;
# an object of whole numbers; an object of lists of such objects; an object of objects of numbers from 0.
SummaryKind = Literal[
    "flag", "count", "code", "time", "counts", "times", "spans", "scalars", "integers", "counters", "totals"
]

# In all tables, so that traces can be merged: the column of this name is the index of a vCPU, and columns of this type
# are times since the machine started, in ns.
VCPU, TIME = "vcpu", "int64"


class Field(NamedTuple):
    """One field of a C struct: name, C type, meaning."""

    name: str
    ctype: str
    doc: str


class Names(NamedTuple):
    """The names behind a column's codes: the fixed names, then those that a key of the metadata lists in JSON."""

    fixed: tuple[str, ...] = ()
    key: str = ""


class Column(NamedTuple):
    """One column: name, Arrow type, unit ("" without one), meaning.

    ``names``: the column holds names, stored as codes of ``type``. ``later``: files of earlier releases lack the
    column; its values there are zero, the first name, or empty.
    """

    name: str
    type: str
    unit: str
    doc: str
    names: Names | None = None
    later: bool = False

    @property
    def fixed_codes(self) -> int:
        """The code of the first name that a key lists."""
        return len(self.names.fixed) if self.names is not None and self.names.key else 0


class Records(NamedTuple):
    """How the rows of a table come from C: as records of the size :data:`vmspec.trace.record.RECORD_SIZE` in a ring.

    ``fields`` are those of the C struct ``name``. A column has the value of the field of its name, but for these:
    ``number`` is the record's place in its ring, ``ring`` the number of the ring, ``times`` are host TSCs, which become
    ns since time 0. A column of bytes is ``length`` bytes from ``payload`` on in the ring's payload bytes.
    """

    name: str
    fields: tuple[Field, ...]
    number: str
    times: Mapping[str, str]
    ring: str | None = None


class Former(NamedTuple):
    """The previous release's ``format`` of a table, and its metadata keys that were renamed. Rows are the same."""

    format: str
    keys: Mapping[str, str]


class Table(NamedTuple):
    """One table of a trace.

    ``name`` is part of its files' names, and what commands and programs use. ``what`` names its rows in messages.
    ``format`` is the value of ``vmrun.format``; it is incremented when an older reader would misread the table. Rows
    are ordered by the column ``time``. ``metadata`` and ``summary`` have the kinds of the values of the schema's
    metadata and of the closing summary that readers use; there may be others. ``switch`` is the key of the spec that
    turns recording on; ``where`` says what else there must be. Readers also accept ``former``. ``records``: the rows
    come through rings of the ring file.
    """

    name: str
    what: str
    format: str
    time: str
    columns: tuple[Column, ...]
    metadata: Mapping[str, MetadataKind]
    summary: Mapping[str, SummaryKind]
    switch: str
    former: Former | None = None
    where: str = ""
    records: Records | None = None

    @property
    def binary(self) -> Column | None:
        """The column of bytes; a table has one at most."""
        return next((column for column in self.columns if column.type == "binary"), None)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the metadata that list names of a column: no row can be read without them."""
        return tuple(column.names.key for column in self.columns if column.names is not None and column.names.key)

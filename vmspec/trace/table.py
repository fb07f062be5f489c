"""What a table of a trace is. :mod:`vmspec.trace.tables` lists them; whatever writes, reads, recovers, converts or
documents a table does so by its definition.

This module imports nothing, so that a build environment can read the definitions.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

# How a value of the schema's metadata is written: as it is, TOML, a JSON object, a JSON list of texts.
MetadataKind = Literal["text", "toml", "object", "names"]
# What a value of the closing summary is: true or false; a number from 0; a time in ns; a list with one for each vCPU
# (times may be null); an object of single values; an object of whole numbers; an object of lists of such objects.
SummaryKind = Literal["flag", "count", "time", "counts", "times", "scalars", "integers", "counters"]

CLOCK = "vmrun.clock"  # the key of the metadata that all tables of one run have alike


class Field(NamedTuple):
    """One field of a C struct: name, C type, what it holds."""

    name: str
    ctype: str
    doc: str


class Names(NamedTuple):
    """What the codes of a column stand for: the fixed names, then those that a key of the metadata lists in JSON."""

    fixed: tuple[str, ...] = ()
    key: str = ""


class Column(NamedTuple):
    """One column: name, Arrow type, unit ("" where it has none), what it holds.

    ``names``: the column holds names, and ``type`` is that of the codes which are stored for them. ``later``: files of
    releases before have no such column; of these it is zero, the first name, or empty.
    """

    name: str
    type: str
    unit: str
    doc: str
    names: Names | None = None
    later: bool = False

    @property
    def fixed_codes(self) -> int:
        """What is added to an index into the names that a key lists, to make a code of it."""
        return len(self.names.fixed) if self.names is not None and self.names.key else 0


class Former(NamedTuple):
    """What a table of the release before has for ``format``, and in its metadata for keys of now. Rows are the same."""

    format: str
    keys: Mapping[str, str]


class Table(NamedTuple):
    """One table of a trace.

    ``name`` stands in the names of its files and is what commands and programs ask for; ``what`` says in a message what
    its rows are; ``format`` is the value of ``vmrun.format``, raised when a reader of the one before would misread it.
    Rows are ordered by the column ``time``. ``metadata`` and ``summary`` say of what kind the values of the schema's
    metadata and of the closing summary are, where readers use them; there may be others. Readers take ``former`` too.
    """

    name: str
    what: str
    format: str
    time: str
    columns: tuple[Column, ...]
    metadata: Mapping[str, MetadataKind]
    summary: Mapping[str, SummaryKind]
    former: Former | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the metadata that list names of a column: no row can be read without them."""
        return tuple(column.names.key for column in self.columns if column.names is not None and column.names.key)

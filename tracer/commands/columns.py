"""``vmtrace columns``: the columns of each command's tables: names, types, units, meanings."""

import argparse
from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from tracer.commands import __path__
from tracer.format.errors import TraceError
from tracer.format.vocabulary import UNITS, nearest
from tracer.show.output import add_formats, show
from vmspec.trace.files import TRACE
from vmspec.trace.record import FLAG_DOCS

# Names of the schema's types in a few words.
_TYPES = {"string": "text", "double": "float", "list<item: string>": "list of texts", "binary": "bytes"}


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "Names are the same in headings, JSON, CSV, Parquet, --columns, --where and SQL. A heading leaves out the unit "
        "that each cell shows: handling above 12.3 us is the column handling_ns, and exits% is exits_share."
    )
    parser.add_argument("command_", metavar="COMMAND", nargs="?", help="print only the columns of this command")
    add_formats(parser)


def run(options: argparse.Namespace) -> int:
    """Print the columns by command and table, and the meaning of the units."""
    import pyarrow as pa

    known = schemas()
    if options.command_ is not None and options.command_ not in known:
        hint = nearest(options.command_, list(known))
        raise TraceError(f"no command that prints columns is called {options.command_!r}; {hint}")
    rows = [
        {
            "command": command,
            "table": table,
            "column": field.name,
            "type": kind(field),
            "unit": field.metadata.get(b"unit", b"").decode(),
            "meaning": field.metadata.get(b"doc", b"").decode(),
        }
        for command, tables in known.items()
        if options.command_ in (None, command)
        for table, schema in tables.items()
        for field in schema
    ]
    if options.command_ in (None, "events"):
        rows += [
            {"command": "events", "table": TRACE, "column": name, "type": "flag", "unit": "", "meaning": meaning}
            for name, meaning in FLAG_DOCS.items()
        ]
    names = ("command", "table", "column", "type", "unit", "meaning")
    columns = pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.utf8()) for name in names]))
    units = pa.table({"unit": [*UNITS], "meaning": [*UNITS.values()]})
    options.all = True
    show({"columns": columns, "units": units}, options)
    return 0


def kind(field: Any) -> str:
    """The type of a field, as in the list and the documentation."""
    return _TYPES.get(str(field.type), str(field.type))


def schemas() -> Mapping[str, Mapping[str, Any]]:
    """The schemas of each command's tables, whose fields carry unit and doc: ``tables()`` of the commands' modules."""
    modules = [import_module(f"{__package__}.{found.name}") for found in iter_modules(__path__)]
    printing = [module for module in modules if hasattr(module, "tables")]
    return {command: of_command for module in printing for command, of_command in module.tables().items()}

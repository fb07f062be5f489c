"""The source files that a Python device is made from: its own, and those beside it that it imports."""

import ast
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def sources(module: Path) -> tuple[Path, ...]:
    """The module's file, and every file in its directory that its imports lead to, wherever they are in the code.

    What a device imports by a name that it computes is not seen here; vmrun compares what was loaded.
    """
    found: dict[Path, None] = {}
    new = [module]
    while new:
        file = new.pop()
        if file in found or not file.is_file():
            continue
        found[file] = None
        for parts in _imports(file, module.parent):
            new += _files(parts, module.parent)
    return tuple(sorted(found))


def _imports(file: Path, directory: Path) -> Iterator[tuple[str, ...]]:
    """The names that a file imports, in parts. What is imported from a module may be a module itself."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of a device's code, which this run does not execute
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return  # the run will say it
    package = file.relative_to(directory).parent.parts
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (tuple(alias.name.split(".")) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = () if level == 0 else package[: len(package) - level + 1]
                if level > len(package) + 1:
                    continue
                within = (*base, *(module.split(".") if module else ()))
                yield within
                yield from ((*within, alias.name) for alias in names)


def _files(parts: tuple[str, ...], directory: Path) -> Iterator[Path]:
    """The files that an import of a name may execute: the packages on the way, and the module."""
    for end in range(1, len(parts) + 1):
        place = directory.joinpath(*parts[:end])
        with suppress(OSError, ValueError):  # names that no file can have
            for file in (place / "__init__.py", place.with_suffix(".py")):
                if file.is_file():
                    yield file

"""``vmspec export``: from a spec to another tool's configuration."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from vmspec.exchange import WRITERS
from vmspec.exchange.export.source import Left, Source
from vmspec.host.atomic import replaced
from vmspec.schema.problems import Problem, SpecError
from vmspec.spec.models import Spec

LEFT = 1  # exit status: --strict, and something has no counterpart


def run(tool: str, spec: Spec, locate: Callable[[Problem], Problem], output: Path | None, strict: bool) -> int:
    """Write a tool's configuration, and name what it cannot express; return the exit status. ``locate`` finds the place
    of a problem's key. Raises SpecError for a guest that the tool cannot start at all, OSError if the result cannot be
    written."""
    try:
        text, left = export(tool, spec)
    except SpecError as error:
        raise SpecError(tuple(map(locate, error.problems))) from None
    for key, why in left:
        problem = Problem(key, why)
        print(locate(problem) if key else problem.at(spec.path, None, None), file=sys.stderr)
    if strict and left:
        return LEFT
    data = text.encode("utf-8", "surrogateescape")  # paths may have other bytes
    if output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    else:
        with replaced(output) as file:
            file.write(data)
    return 0


def export(tool: str, spec: Spec) -> tuple[str, list[Left]]:
    """The tool's configuration, and what it cannot express."""
    source = Source(spec, firmware=tool == "qemu")
    text: str = import_module(WRITERS[tool]).write(source)
    return text, source.left()

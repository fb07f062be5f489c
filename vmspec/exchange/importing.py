"""``vmspec import``: from another tool's configuration to a commented spec."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from vmspec.exchange import READERS, commented
from vmspec.exchange.draft import Draft
from vmspec.exchange.shell import arguments
from vmspec.exchange.tree import Node
from vmspec.host.atomic import replaced
from vmspec.schema.keypath import KeyPath, split
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.tables import Table
from vmspec.schema.toml_text import contents
from vmspec.schema.value import Here, TooManyProblemsError
from vmspec.spec.models import Spec

LARGEST = 1 << 17  # bytes of a configuration
REMARKS = 1  # exit status: no kernel, or with --strict anything without a counterpart
STDIN = "-"
STARTS = ("kernel", "firmware")  # keys of [boot], one of which a spec needs
NO_KERNEL = "a spec needs boot.kernel, or boot.firmware: vmrun itself finds no kernel on a disk, as SeaBIOS does"


def run(tool: str, source: str | None, words: Sequence[str] | None, output: Path | None, strict: bool) -> int:
    """Write the spec of a file, or of a command line's words; return the exit status. Raises SpecError for a
    configuration that is wrong, OSError if the spec cannot be written."""
    draft = _read(tool, source, words)
    remarks = list(_remarks(draft))
    if complete := any(key in draft.boot.values for key in STARTS):
        check(draft)
    else:
        draft.boot.comment(NO_KERNEL)
        remarks.append(Problem("boot", NO_KERNEL, file=source))
    for remark in remarks:
        print(remark, file=sys.stderr)
    if strict and remarks:
        return REMARKS
    elsewhere = output is not None and output.absolute().parent.resolve() != Path.cwd()
    text = commented.text(draft, Path.cwd() if elsewhere else None)
    if output is None:
        print(text, end="")
    else:
        with replaced(output) as file:
            file.write(text.encode())
    return 0 if complete else REMARKS


def _read(tool: str, source: str | None, words: Sequence[str] | None) -> Draft:
    reader = import_module(READERS[tool])
    if words is not None:
        if not hasattr(reader, "of_words"):
            raise SpecError((Problem("", f"{tool} is configured by a file, not a command line: give the file"),))
        draft: Draft = reader.of_words(arguments(list(words)))
        return draft
    assert source is not None
    path = Path("/dev/stdin" if source == STDIN else source)
    made: Draft = reader.of_text(contents(path, LARGEST, "a configuration"), path)
    return made


def check(draft: Draft) -> None:
    """Raises SpecError with every problem of the draft, at the place from which the value comes."""
    here = Here(Path.cwd())
    problems = draft.problems
    try:
        Table(Spec).read(_complete(commented.table(draft)), here)
    except TooManyProblemsError:
        problems.append(Problem("", "has more problems than these"))
    problems += [_located(draft, problem) for problem in here.problems]
    if problems:
        raise SpecError(tuple(problems))


def _complete(table: dict[str, Any]) -> dict[str, Any]:
    """With a kernel, if nothing starts the guest: its absence is no problem of what is there."""
    if not any(key in table["boot"] for key in STARTS):
        table["boot"]["kernel"] = "kernel"
    return table


def _located(draft: Draft, problem: Problem) -> Problem:
    """The problem of a key, at the option that gave the key its value."""
    node = _node(draft, split(problem.path)) if problem.path else None
    if node is None:
        return problem
    return problem._replace(path=f"{node.label}: {problem.path}").at(*node.place)


def _node(draft: Draft, path: KeyPath) -> Node | None:
    parts = [part for part in draft.devices if part.kind]
    match path:
        case ("device", int(index), *keys) if index < len(parts):
            part = parts[index]
        case (str(table), *keys):
            part = next((part for part in draft.parts[:4] if part.kind == table), draft.vm)
        case _:
            return None
    given = part.values.get(str(keys[0])) if keys else None
    return part.node if given is None or given.node is None else given.node


def _remarks(draft: Draft) -> list[Problem]:
    """What has no counterpart, with its place."""
    return [
        Problem(commented.shown(remark.node), remark.why).at(*remark.node.place)
        for part in draft.parts
        for remark in part.remarks
        if remark.node is not None
    ]

"""A draft as TOML with comments: where each value comes from, and what has no counterpart, at its place."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vmspec.exchange.draft import Draft, FileName, Given, Part
from vmspec.exchange.tree import Node
from vmspec.host.pathtext import from_text, to_text
from vmspec.host.printable import printable
from vmspec.host.wrapping import wrapped
from vmspec.show.dump import toml

SHOWN = 100  # characters of the tool's text in a comment
WIDTH = 98  # of a comment without its mark


def text(draft: Draft, directory: Path | None = None) -> str:
    """The spec. With a directory, relative paths, which begin at the current directory, become absolute."""
    lines = [f"# Made from a configuration of {draft.tool} by vmspec import."]
    for part in draft.parts:
        if part.values or part.remarks or part.kind in ("vm", "boot") or part in draft.devices:
            lines += ("", *_part(part, part in draft.devices, directory))
    return "\n".join((*lines, ""))


def table(draft: Draft, directory: Path | None = None) -> dict[str, Any]:
    """The same as a TOML table."""
    made: dict[str, Any] = {}
    for part in (draft.vm, draft.boot, draft.memory, draft.cpu):
        if part.values or part.kind in ("vm", "boot"):
            made[str(part.kind)] = _values(part, directory)
    devices = [{"kind": part.kind, **_values(part, directory)} for part in draft.devices if part.kind]
    return {**made, "device": devices} if devices else made


def _values(part: Part, directory: Path | None) -> dict[str, Any]:
    return {key: _resolved(given.value, directory) for key, given in part.values.items()}


def _part(part: Part, device: bool, directory: Path | None) -> Iterator[str]:
    if device and part.node is not None and part.kind:
        yield _comment(shown(part.node))
    if part.kind and (device or part.values or part.kind in ("vm", "boot")):
        yield f"[[device]]\nkind = {_value(part.kind)}" if device else f"[{part.kind}]"
    for key, given in part.values.items():
        yield _key(key, given._replace(value=_resolved(given.value, directory)), part.node)
    for remark in part.remarks:
        said = remark.why if remark.node is None else f"not here: {shown(remark.node)}: {remark.why}"
        yield from map(_comment, wrapped(printable(said), WIDTH))


def _key(key: str, given: Given, origin: Node | None) -> str:
    line = f"{key} = {_value(given.value)}"
    node = given.node
    # A device's own option stands above it.
    own = node is None or (origin is not None and node.place == origin.place)
    return line if own or node is None else f"{line}  {_comment(shown(node))}"


def _value(value: Any) -> str:
    """A value on one line, with tables in it."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case _:
            return toml({"x": value}).removeprefix("x = ").rstrip("\n")


def _comment(text: str) -> str:
    return f"# {printable(text)}"


def shown(node: Node) -> str:
    """The text of a node, cut if it is long."""
    return node.text if len(node.text) <= SHOWN else f"{node.text[: SHOWN - 1]}…"


def _resolved(value: Any, directory: Path | None) -> Any:
    match value:
        case FileName() if directory is not None:
            try:
                return to_text(directory / from_text(value))
            except ValueError:  # the check of the spec reports it
                return str(value)
        case FileName():
            return str(value)
        case dict():
            return {key: _resolved(item, directory) for key, item in value.items()}
        case list():
            return [_resolved(item, directory) for item in value]
        case _:
            return value

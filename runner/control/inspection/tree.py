"""Trees: nested dictionaries whose leaves are numbers, texts and truth values. Registers and addresses are texts in
hexadecimal, because JSON readers keep only 53 bits of a number."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from runner.control.errors import ControlError

Tree = Mapping[str, Any]

WIDEST, SHORT = 110, 6  # columns and parts of a tree in one line


class Still(NamedTuple):
    """A part of a tree that can only be read while the machine stands still."""

    read: Callable[[], Any]


class Later(NamedTuple):
    """A part that follows from what was read, and takes long: it is read once the machine goes on."""

    read: Callable[[], Any]


def select(tree: Tree, path: str, standing: Callable[[], AbstractContextManager[object]]) -> tuple[Any, bool]:
    """The part of a tree at a path, its names separated by "/", and whether the machine had to stand still for it:
    ``standing`` makes it, for a block. Raises ControlError if there is no such part."""
    names = [name for name in path.split("/") if name]
    node, at = _walk(tree, names)
    if not _stills(node):
        return node, False
    with standing():
        node = _read(node)
    node, _ = _walk(node, names, at)
    return _later(node), True


def _walk(node: Any, names: list[str], at: int = 0) -> tuple[Any, int]:
    """Follow the names from one on, up to a part that must be read first. Returns it, and how many names led to it."""
    while at < len(names) and not isinstance(node, Still):
        where = "/".join(names[:at]) or "the machine"
        if not isinstance(node, Mapping):
            raise ControlError("argument", f"{where} has no parts: leave out /{'/'.join(names[at:])}")
        if names[at] not in node:
            raise ControlError("argument", f"{where} has no {names[at]!r}: it has {', '.join(node) or 'no parts'}")
        node, at = node[names[at]], at + 1
    return node, at


def _stills(node: Any) -> bool:
    match node:
        case Still():
            return True
        case Mapping():
            return any(map(_stills, node.values()))
    return False


def _read(node: Any) -> Any:
    match node:
        case Still(read):
            return _read(read())
        case Mapping():
            return {name: _read(value) for name, value in node.items()}
    return node


def _later(node: Any) -> Any:
    match node:
        case Later(read):
            return read()
        case Mapping():
            return {name: _later(value) for name, value in node.items()}
    return node


def text(node: Any, indent: int = 0) -> list[str]:
    """A tree as lines for people."""
    if not isinstance(node, Mapping):
        return [" " * indent + _leaf(node)]
    lines = []
    width = max((len(name) for name, value in node.items() if not isinstance(value, Mapping)), default=0)
    for name, value in node.items():
        if isinstance(value, Mapping):
            short = _short(value)
            if short is not None and len(name) + len(short) + indent + 2 <= WIDEST:
                parts = max(len(other) for other, part in node.items() if isinstance(part, Mapping))
                lines.append(f"{' ' * indent}{name:<{parts}}  {short}".rstrip())
            else:
                lines += [" " * indent + name, *text(value, indent + 2)]
        else:
            lines.append(f"{' ' * indent}{name:<{width}}  {_leaf(value)}")
    return lines


def _short(node: Tree) -> str | None:
    """A tree in one line, if it has few parts and no part of it has parts."""
    if len(node) > SHORT or any(isinstance(value, Mapping) for value in node.values()):
        return None
    return "  ".join(f"{name} {_leaf(value)}" for name, value in node.items())


def _leaf(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.6g}"
    return str(value)


def hexadecimal(value: int, size: int = 8) -> str:
    """A register of so many bytes, or an address."""
    return f"{value:#0{2 + 2 * size}x}"

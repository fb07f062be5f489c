"""JSON as nodes with their places. An array's elements are parts with the array's name."""

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from vmspec.exchange.tree import Node, Place, Scalar
from vmspec.schema.problems import Problem, SpecError

DEEPEST = 64
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)


def parse(text: str, file: Path | None) -> Node:
    """The object that a text holds. Raises SpecError if it holds none."""
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        _wrong(f"is not JSON: {error.msg}", Place(_name(file), error.lineno, error.colno))
    except (ValueError, RecursionError) as error:
        _wrong(f"is not JSON: {error}", Place(_name(file), 1, 1))
    if not isinstance(given, dict):
        _wrong("is not an object in JSON", Place(_name(file), 1, 1))
    return _Builder(text, file).root


def _name(file: Path | None) -> str | None:
    return None if file is None else str(file)


def _wrong(message: str, place: Place) -> NoReturn:
    raise SpecError((Problem("", message).at(*place),))


class _Builder:
    """Nodes of a text that is JSON."""

    def __init__(self, text: str, file: Path | None) -> None:
        self.text = text
        self.file = _name(file)
        self.root = Node("")
        self._counted = (0, 1)  # an offset, and its line
        stack: list[tuple[Node, list[int]]] = []  # objects, and arrays with their next index
        key, begin = "", 0
        for token in TOKEN.finditer(text):
            word = token[0]
            holder = stack[-1] if stack else None
            match word:
                case "{" | "[":
                    if len(stack) >= DEEPEST:
                        _wrong("is nested too deep", self._place(token.start()))
                    array = word == "["
                    if holder is None:
                        stack.append((self.root, []))
                        continue
                    above, counts = holder
                    start = token.start() if counts else begin
                    label = self._label(above, key, counts)
                    node = Node(
                        above.name if counts else key, label=label, text=f"{label}: {word}…", place=self._place(start)
                    )
                    if not array:
                        above.children.append(node)
                        stack.append((node, []))
                    elif counts:  # an array in an array
                        above.children.append(node)
                        stack.append((node, [0]))
                    else:
                        node.children = above.children  # its elements are parts of the object
                        stack.append((node, [0]))
                case "}" | "]":
                    stack.pop()
                case ":" | ",":
                    pass
                case _ if holder is not None and not holder[1] and self._is_key(token.end()):
                    key, begin = str(_text(word)), token.start()
                case _ if holder is not None:
                    above, counts = holder
                    start = token.start() if counts else begin
                    label = self._label(above, key, counts)
                    value = _text(word)
                    above.children.append(Node(above.name if counts else key, value, label=label,
                                               text=f"{label}: {word}", place=self._place(start)))  # fmt: skip

    def _is_key(self, end: int) -> bool:
        return re.compile(r"\s*:").match(self.text, end) is not None

    def _label(self, above: Node, key: str, counts: list[int]) -> str:
        if counts:
            counts[0] += 1
            return f"{above.label}[{counts[0] - 1}]"
        return f"{above.label}.{key}" if above.label else key

    def _place(self, offset: int) -> Place:
        known, line = self._counted
        line += self.text.count("\n", known, offset)
        self._counted = (offset, line)
        return Place(self.file, line, offset - self.text.rfind("\n", 0, offset))


def _text(word: str) -> Scalar:
    """A scalar. A lone surrogate, which no text has outside JSON, stays an escape."""
    value: Any = json.loads(word)
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value

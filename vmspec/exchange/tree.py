"""What a tool was given, as a tree: options and their parts, JSON, XML. A reader takes the nodes that it understands.
Those that it leaves are reported, so nothing is dropped silently."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Scalar = str | int | float | bool | None


class Place(NamedTuple):
    """Where something was given: in a file, with line and column from 1, or "argument 3" of a command."""

    source: str | None = None
    line: int | None = None
    column: int | None = None


NOWHERE = Place()


class Node:
    """A thing with a name, and a value or parts. ``label`` is its name for people, ``text`` its text in the source,
    ``value`` a scalar, or None for a node that only has parts."""

    __slots__ = ("children", "label", "name", "place", "taken", "text", "value")

    def __init__(
        self,
        name: str,
        value: Scalar = None,
        children: Iterable["Node"] = (),
        *,
        label: str | None = None,
        text: str | None = None,
        place: Place = NOWHERE,
    ) -> None:
        self.name = name
        self.value: Any = value
        self.children = list(children)
        self.label = name if label is None else label
        self.text = self.label if text is None else text
        self.place = place
        self.taken = False

    def all(self, *names: str) -> list["Node"]:
        """Take every part with one of these names, or every part."""
        found = [child for child in self.children if not names or child.name in names]
        for child in found:
            child.taken = True
        return found

    def get(self, *names: str) -> "Node | None":
        """Take the last part with one of these names: the later of two options counts. The others are left."""
        found = next((child for child in reversed(self.children) if child.name in names), None)
        if found is not None:
            found.taken = True
        return found

    def peek(self, *names: str) -> "Node | None":
        """The same part, not taken."""
        return next((child for child in reversed(self.children) if child.name in names), None)

    def string(self, *names: str, default: str = "") -> str:
        """Take the text of a part."""
        found = self.get(*names)
        return default if found is None or found.value is None else str(found.value)

    def means(self, name: str, *values: Scalar) -> bool:
        """Whether a part has one of these values; it is then taken. Use it for what needs no key of a spec."""
        found = self.peek(name)
        fits = found is not None and any(type(found.value) is type(value) and found.value == value for value in values)
        if found is not None and fits:
            found.taken = True
        return fits

    def without(self, name: str, *values: Scalar) -> bool:
        """The same; also true without the part."""
        return self.peek(name) is None or self.means(name, *values)

    def claim(self) -> None:
        """Take the node with all of its parts."""
        self.taken = True
        for child in self.children:
            child.claim()

    def left(self) -> Iterator["Node"]:
        """The outermost parts that nobody has taken."""
        for child in self.children:
            if child.taken:
                yield from child.left()
            else:
                yield child

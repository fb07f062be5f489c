"""A machine that is being read from another tool's configuration: tables of a spec, each value with the node that it
comes from, and remarks on what has no counterpart."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from vmspec.exchange.tree import Node
from vmspec.registers.serial import COMS
from vmspec.schema.problems import Problem
from vmspec.schema.values import STANDARD

NOTHING = "a spec has no such setting"


class FileName(str):
    """The text of a path, as opposed to other text: a relative one begins at the current directory."""

    __slots__ = ()


class Given(NamedTuple):
    """A value of a key, and the node that it comes from; None: the tool's own default."""

    value: Any
    node: Node | None


class Remark(NamedTuple):
    """What has no counterpart in a spec, and why. Without a node it is only a comment."""

    node: Node | None
    why: str


class Part:
    """A table of the spec, or only remarks if it has no kind. Its place is that of its node."""

    def __init__(self, kind: str | None, node: Node | None = None) -> None:
        self.kind = kind
        self.node = node
        self.values: dict[str, Given] = {}
        self.remarks: list[Remark] = []

    def set(self, key: str, value: Any, node: Node | None = None) -> None:
        """Give a key its value; None leaves it out."""
        if value is not None:
            self.values[key] = Given(value, node if node is not None else self.node)

    def file(self, key: str, node: Node | None, text: str | None = None) -> None:
        """Give a key the path that a node has, if it has one; ``text`` if that is only a part of the node's value."""
        if node is not None and node.value is not None:
            self.set(key, file_name(str(node.value) if text is None else text), node)

    def get(self, key: str) -> Any:
        """The value of a key, or None."""
        return self.values[key].value if key in self.values else None

    def remark(self, node: Node | None, why: str) -> None:
        """Name something that has no counterpart."""
        if node is not None:
            node.claim()
        self.remarks.append(Remark(node, why))

    def comment(self, text: str) -> None:
        """Explain something that was not an option of the tool."""
        self.remark(None, text)

    def leave(self, node: Node, reasons: Mapping[str, str] = {}) -> None:
        """Name all parts of a node that nobody has taken; ``reasons`` says why, by their names."""
        for part in list(node.left()):
            self.remark(part, reasons.get(part.name, NOTHING))


class Draft:
    """The whole machine. ``tool`` is the other tool's name."""

    def __init__(self, tool: str) -> None:
        self.tool = tool
        self.vm, self.boot, self.memory, self.cpu = map(Part, ("vm", "boot", "memory", "cpu"))
        self.devices: list[Part] = []
        self.problems: list[Problem] = []
        self.reads_stdin = False

    @property
    def parts(self) -> tuple[Part, ...]:
        """All of them, in the order of a spec."""
        return (self.vm, self.boot, self.memory, self.cpu, *self.devices)

    def device(self, kind: str, node: Node | None = None) -> Part:
        """A new device."""
        self.devices.append(Part(kind, node))
        return self.devices[-1]

    def serial(self, node: Node | None, com: int | str | None) -> Part | None:
        """A new serial port; None if its interrupt is taken: COM3 has that of COM1, COM4 that of COM2."""
        irq = COMS[com][1] if com in COMS else None
        coms = [part.get("com") or 1 for part in self.devices if part.kind == "serial"]
        taken = {COMS[other][1] for other in coms if other in COMS}
        if irq in taken:
            self.remark(node, "its interrupt is another serial port's, and vmrun's devices share no ISA interrupt")
            return None
        part = self.device("serial", node)
        part.set("com", com if com != 1 else None)
        return part

    def remark(self, node: Node | None, why: str) -> None:
        """Name something among the devices that has no counterpart."""
        part = Part(None)
        part.remark(node, why)
        self.devices.append(part)

    def wrong(self, node: Node, message: str, value: str | None = None, allowed: str | None = None) -> None:
        """Add a problem with what a node has."""
        node.taken = True
        shown = None if value is None else value[:60]
        self.problems.append(Problem(node.label, message, shown, allowed).at(*node.place))

    def stdin(self, part: Part) -> str:
        """The value of a device's ``input`` that is the terminal: only one device can have it."""
        if self.reads_stdin:
            part.comment("another device reads standard input already")
            return "none"
        self.reads_stdin = True
        return "stdin"


def file_name(text: str) -> FileName:
    """A path's text such that a spec does not take it for one of its words, such as "none"."""
    return FileName(f"./{text}" if text.lower() in STANDARD else text)

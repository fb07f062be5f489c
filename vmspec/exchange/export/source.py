"""A spec as nodes: the keys whose values are not the defaults. A writer takes those that it can express. Those
that it leaves are reported."""

from typing import Any, NamedTuple

from attrs import NOTHING

from vmspec.exchange.tree import Node
from vmspec.host.pathtext import from_text
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.value import Model, keys
from vmspec.spec.models import Spec

OURS = "only vmrun has it"
TAKEN = ("vm", "boot", "memory", "cpu", "device")  # the tables that a writer reads
REASONS = {
    "trace": "only vmrun records a run", "expect": "only vmrun checks a run", "lock": "only vmrun compares a run",
    "timeout": "end the run from outside: timeout 60 COMMAND", "symbols": "only vmrun reports symbols",
    "unpack": "the kernel unpacks itself there", "matrix": "only vmrun test has axes",
    "model": "copy the model by hand: the formats differ", "seed": "the guest gets the host's random bytes",
    "capture": "capture outside: tcpdump", "lost": "it has its own rule", "notify": "it has its own way",
    "virtio-python": "no device in Python is there", "python": "no device in Python is there",
}  # fmt: skip


class Left(NamedTuple):
    """A key that the tool cannot express, and why; or with an empty key what the tool adds."""

    key: str
    why: str


class Source:
    """The nodes of a spec, and what a writer says of them."""

    def __init__(self, spec: Spec, firmware: bool = False) -> None:
        """``firmware``: the tool can start it. Raises SpecError for a guest that the tool cannot start."""
        self.spec = spec
        self.said: list[Left] = []
        self.vm, self.boot, self.memory, self.cpu = (
            _node(getattr(spec, name), name) for name in ("vm", "boot", "memory", "cpu")
        )
        self.others = [
            Node(name, label=name)
            for name, attribute in keys(Spec).items()
            if name not in TAKEN and _given(getattr(spec, attribute.name))
        ]
        tables = keys(Spec)["device"].metadata["value"].write(spec.devices)
        self.devices = [
            Node(table["kind"], None, _node(device, f"device[{index}]").children, label=f"device[{index}]")
            for index, (table, device) in enumerate(zip(tables, spec.devices, strict=True))
        ]
        if (spec.boot.kernel is None and spec.boot.firmware is None) or spec.boot.mode is not None:
            key = "boot.mode" if spec.boot.mode is not None else "boot"
            raise SpecError((Problem(key, "only vmrun starts a flat guest: the tools need a Linux kernel"),))
        if spec.boot.kernel is None and not firmware:
            raise SpecError((Problem("boot.firmware", "the tool starts a kernel: give boot.kernel"),))

    def transport(self, device: Node, take: bool = True) -> str:
        """The transport of a virtio device."""
        found = device.get("transport") if take else device.peek("transport")
        return self.spec.vm.transport if found is None else str(found.value)

    def note(self, node: Node, why: str) -> None:
        """Tell the user something about what the tool does have."""
        self.said.append(Left(node.label, why))

    def cannot(self, node: Node, why: str) -> None:
        """Name a key, or a device, that the tool does not have."""
        node.claim()
        self.said.append(Left(node.label, why))

    def adds(self, why: str) -> None:
        """Name what the tool's machine has beside what the spec says."""
        self.said.append(Left("", why))

    def left(self) -> list[Left]:
        """Everything that the tool cannot express."""
        whole = [
            Left(node.label, REASONS.get(node.name, OURS)) for node in (*self.others, *self.devices) if not node.taken
        ]
        taken = (self.vm, self.boot, self.memory, self.cpu, *(node for node in self.devices if node.taken))
        return [*self.said, *whole, *(Left(n.label, REASONS.get(n.name, OURS)) for part in taken for n in part.left())]


def _given(table: Any) -> bool:
    return bool(_node(table, "").children) if isinstance(table, Model) else bool(table)


def _node(model: Model, label: str) -> Node:
    """The keys of a model whose values are not the defaults."""
    children = []
    for name, attribute in keys(type(model)).items():
        value, default = getattr(model, attribute.name), attribute.default
        if (factory := getattr(default, "factory", None)) is not None:  # attrs.Factory
            default = factory()
        if value is not None and (default is NOTHING or value != default):
            written: Any = attribute.metadata["value"].write(value)
            children.append(Node(name, written, label=f"{label}.{name}"))
    return Node(label, None, children, label=label)


def path(node: Node | None) -> str:
    """A path as a command line has it."""
    return "" if node is None else str(from_text(str(node.value)))


def text_path(node: Node) -> str:
    """A path as JSON and XML have it. Raises SpecError if it is not UTF-8."""
    if "\0" in str(node.value):
        raise SpecError((Problem(node.label, "the path is not UTF-8, which the tool's format requires"),))
    return str(node.value)

"""Mutated snapshots: as damage changes them, and with contents that are changed and sealed again."""

import copy
import json
import random
import zlib
from contextlib import closing
from pathlib import Path

from runner.devices import Board, DeviceError, make
from runner.devices.state import Flag, Number, Octets, OneOf, Parts, Rule, State, StateError
from runner.devices.state import Part as StatePart
from runner.kvm.errors import HostError
from runner.kvm.saved import CONTROLLED, FIRST, LAST, PARTS, Msr, Part, SavedControllers, SavedVcpu
from runner.machine.guesttime import Clocks
from runner.memory import GuestMemory
from runner.snapshot.chain import Chain
from runner.snapshot.contents import Base, Contents
from runner.snapshot.errors import SnapshotError
from runner.snapshot.restoring import Restoring
from runner.snapshot.snapshotfile import FORMAT, HEAD, MAGIC, PAGE, Piece, Writer
from runner.snapshot.states import from_tree, tree
from runner.x86.cpuid import CpuidEntry
from tests.mutated import bytesmutation
from vmspec.document import Document
from vmspec.schema.problems import SpecError

SPEC = """
[vm]
name = "mutated"
memory = "4MiB"
irqchip = "kernel"
[boot]
mode = "real"
code = "f4"
[[device]]
kind = "i8042"
[[device]]
kind = "debug-port"
[[device]]
kind = "virtio-rng"
seed = 7
"""
EXPECTED = (SnapshotError, SpecError, StateError, HostError, DeviceError)
SIZES = PARTS | CONTROLLED
NUMBERS = (-1, 0, 1, 255, 4095, 4096, 1 << 31, 1 << 62, 1 << 64, 1 << 70)
ODD = (None, True, *NUMBERS, 1.5, "", "00", "zz", [], {}, [0], {"a": 0})


def least(cls: type[State]) -> State:
    """The state of a class whose values are the first that its rules accept."""

    def first(rule: Rule) -> object:
        match rule:
            case Number(low):
                return low
            case OneOf(values):
                return values[0]
            case Octets(size):
                return bytes(size)
            case StatePart(part):
                return least(part)
            case Parts():
                return ()
            case Flag():
                return False
            case _:
                return 0

    return cls(**{name: first(rule) for name, rule in cls.rules().items()})


def good(path: Path, base: Base | None = None) -> bytes:
    """A snapshot of a machine that never was: its vCPU is all zeros."""
    path.with_suffix(".toml").write_text(SPEC)
    plan = Document.open(path.with_suffix(".toml")).plan()
    devices = {planned.name: make(planned, Board(path.parent, plan.slots)) for planned in plan.devices}
    vcpu = SavedVcpu(tuple(Part(name, bytes(SIZES[name])) for name in (*FIRST, *LAST)), (Msr(0x10, 5), Msr(0x174, 0)))
    with path.open("wb") as file:
        writer = Writer(file, lambda: None)
        memory = writer.put([Piece(0, b"\x5a" * PAGE * 3), Piece(2 << 20, random.Random(1).randbytes(PAGE))])
        writer.finish(
            Contents(
                version="0",
                plan=plan,
                processor=(CpuidEntry(0, 0, 0, 1, 2, 3, 4),),
                tsc_khz=1_000_000,
                vcpus=(vcpu,) * plan.vm.vcpus,
                controllers=SavedControllers(
                    tuple(bytes([number]) + bytes(519) for number in range(3)), bytes(112) if plan.pit else None
                ),
                clocks=Clocks(5, (7,)),
                time=None,
                devices={name: tree(least(device.state_class)) for name, device in devices.items()},
                files=(),
                memory=memory,
                written=(),
                base=base,
            )
        )
    return path.read_bytes()


class Snapshots:
    """Good snapshots, and mutations of them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "x.snapshot"
        good(folder / "base.snapshot")
        with closing(Chain(folder / "base.snapshot")) as chain:
            base = chain.as_base()
        self._good = good(folder / "good.snapshot", base)
        _, _, _, at, length = HEAD.unpack_from(self._good)
        self._at, self._contents = at, json.loads(self._good[at : at + length])

    def mutate(self, rng: random.Random) -> str:
        """Write a mutated snapshot; returns what was done."""
        if rng.random() < 0.4:
            places = (*range(HEAD.size), *range(self._at, self._at + 2000, 13))
            self._path.write_bytes(bytesmutation.mutated(rng, self._good, places))
            return "damaged"
        contents = json.loads(json.dumps(self._contents))
        for _ in range(rng.choice((1, 1, 2, 3))):
            _change(rng, contents)
        text = json.dumps(contents).encode()
        if rng.random() < 0.1:
            text = bytesmutation.mutated(rng, text)
        head = HEAD.pack(MAGIC, FORMAT, zlib.crc32(text), self._at, len(text))
        self._path.write_bytes(head + self._good[len(head) : self._at] + text)
        return "sealed again"

    def check(self, rng: random.Random) -> None:
        """Go on from it, as far as that needs no KVM: it works, or the error says why it cannot."""
        del rng
        try:
            restoring = Restoring(self._path)
        except EXPECTED:
            return
        try:
            plan = restoring.plan
            if sum(slot.size for slot in plan.slots) > 1 << 26:
                return
            memory = GuestMemory(plan.slots, plan.memory)
            try:
                restoring.load(plan, memory, None)
            finally:
                memory.close()
            for planned in plan.devices:
                device = make(planned, Board(self._path.parent, plan.slots))
                assert device.state_class is not None
                from_tree(device.state_class, restoring.states.get(planned.name))
        except EXPECTED:
            return
        finally:
            restoring.close()


def _change(rng: random.Random, contents: object) -> None:
    """Change one value somewhere in the contents."""
    places = []

    def walk(value: object) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            if key != "plan":  # a plan is trusted as a spec is: it names programs that run
                places.append((value, key))
                walk(inner)

    walk(contents)
    holder, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, json.loads(json.dumps(rng.choice(holder))))
        case 2 if isinstance(holder[key], int):
            holder[key] += rng.choice((-PAGE, -1, 1, PAGE, 1 << 32))
        case _:
            holder[key] = copy.deepcopy(rng.choice(ODD))

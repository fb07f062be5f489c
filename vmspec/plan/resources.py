"""Devices on the buses: their names, regions and interrupts, and collisions between their claims."""

from typing import Any, NamedTuple

from vmspec import layout
from vmspec.devices.models import KINDS, VirtioModel
from vmspec.devices.regions import SPACES, Region
from vmspec.plan import memory_map
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedDevice
from vmspec.schema.problems import Problem
from vmspec.schema.value import Model, keys
from vmspec.spec.models import Spec

NAMES = {model: kind for kind, model in KINDS.items()}


class Claim(NamedTuple):
    """A range or an interrupt, its owner, and the spec's key for it (None: it is not from the spec)."""

    owner: str
    space: str
    start: int
    size: int
    path: str | None = None

    def __str__(self) -> str:
        match self.space:
            case "irq":
                return f"IRQ {self.start}"
            case "port" if self.size == 1:
                return f"port {self.start:#x}"
            case "port":
                return f"ports {self.start:#x}-{self.start + self.size - 1:#x}"
            case _:
                return f"addresses {self.start:#x}-{self.start + self.size - 1:#x}"


def devices(
    spec: Spec, slots: tuple[Slot, ...], irqchip: bool, pit: bool, problems: list[Problem]
) -> tuple[PlannedDevice, ...]:
    """The spec's devices, named by kind and number within it: serial0, serial1, i8042-0."""
    counts: dict[str, int] = {}
    planned: list[PlannedDevice] = []
    irqs = _free_irqs(spec)
    claims = _machine(slots, irqchip, pit)
    for index, model in enumerate(spec.devices):
        kind = NAMES[type(model)]
        number = counts.setdefault(kind, 0)
        counts[kind] += 1
        dash = "-" if kind[-1].isdigit() else ""
        device = PlannedDevice(f"{kind}{dash}{number}", kind, options(model), model.regions(), model.irq)
        if isinstance(model, VirtioModel):
            device = _virtio(device, irqs, f"device[{index}]", problems)
        planned.append(device)
        for claim in _claims(device, f"device[{index}]"):
            if problem := _outside(claim):
                problems.append(problem)
            else:
                claims.append(claim)
    problems += _collisions(claims)
    return tuple(planned)


def _free_irqs(spec: Spec) -> list[int]:
    """The interrupts for virtio devices that no other device of the spec has."""
    taken = {model.irq for model in spec.devices}
    return [irq for irq in layout.VIRTIO_IRQS if irq not in taken]


def _virtio(device: PlannedDevice, irqs: list[int], path: str, problems: list[Problem]) -> PlannedDevice:
    """Place a virtio device: the next of the free interrupts, and the page of registers that goes with it. A machine
    without interrupt controllers does not use the interrupt."""
    if not irqs:
        problems.append(Problem(path, f"no interrupt is left for {device.name}: leave out a device"))
        return device
    irq = irqs.pop(0)
    start = layout.VIRTIO_MMIO + layout.PAGE * layout.VIRTIO_IRQS.index(irq)
    regions = tuple(region._replace(start=start) for region in device.regions)
    return device._replace(irq=irq, regions=regions, transport="mmio")


def options(model: Model) -> dict[str, Any]:
    """The keys of a device's table and their values, with those that place it on the buses."""
    return {name: plain(getattr(model, field.name)) for name, field in keys(type(model)).items()}


def plain(value: Any) -> Any:
    """A value without tuples and models."""
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return options(value) if isinstance(value, Model) else value


def taken(slots: tuple[Slot, ...], irqchip: bool, pit: bool) -> tuple[Region, ...]:
    """The machine's own ranges on the buses."""
    regions = [Region("RAM", "mmio", slot.size, slot.start) for slot in slots]
    regions += [Region(area.name, "mmio", area.size, area.start) for area in memory_map.fixed(irqchip)]
    if irqchip:
        regions += [Region("the interrupt controller", "port", size, at) for at, size in layout.IRQCHIP_PORTS]
    if pit:
        regions += [Region("the timer (PIT)", "port", size, at) for at, size in layout.PIT_PORTS]
    return tuple(regions)


def _machine(slots: tuple[Slot, ...], irqchip: bool, pit: bool) -> list[Claim]:
    """The machine's own claims."""
    claims = [Claim(r.name, r.space, r.start, r.size) for r in taken(slots, irqchip, pit) if r.start is not None]
    if irqchip:
        claims.append(Claim("the interrupt controller's cascade", "irq", 2, 1))
    if pit:
        claims.append(Claim("the timer (PIT)", "irq", 0, 1))
    return claims


def _claims(device: PlannedDevice, path: str) -> list[Claim]:
    claims = [
        Claim(device.name, region.space, region.start, region.size, path + _key(device, region.space))
        for region in device.regions
        if region.start is not None
    ]
    if device.irq is not None:
        claims.append(Claim(device.name, "irq", device.irq, 1, path + _key(device, "irq")))
    return claims


def _key(device: PlannedDevice, space: str) -> str:
    """The key of a device that decides a range: its own, or COM number, or none (a fixed place)."""
    return next((f".{name}" for name in (space, "com") if name in device.options), "")


def _outside(claim: Claim) -> Problem | None:
    assert claim.path is not None
    if claim.space == "irq":
        if 0 <= claim.start < layout.IOAPIC_PINS:
            return None
        return Problem(claim.path, "no such interrupt", str(claim.start), f"0 to {layout.IOAPIC_PINS - 1}")
    end = SPACES[claim.space]
    if claim.start >= 0 and claim.size > 0 and claim.start + claim.size <= end:
        return None
    what = f"[{claim.start:#x}, {claim.size:#x}]"
    return Problem(claim.path, f"not a range of {claim.space} addresses", what, f"[start, size] below {end:#x}")


def _collisions(claims: list[Claim]) -> list[Problem]:
    """One problem for each claim that overlaps one that begins before it."""
    problems = []
    last: dict[str, Claim] = {}  # the claim with the highest end, by space
    for claim in sorted(claims, key=lambda claim: (claim.start, claim.path is not None)):
        other = last.get(claim.space)
        if other is None or other.start + other.size <= claim.start:
            last[claim.space] = claim
            continue
        # Report the device that comes later in the file; the machine's own claims are not in it.
        first, second = (claim, other) if claim.path is None else (other, claim)
        if first.path is not None and second.path is not None and _position(second) < _position(first):
            first, second = second, first
        assert second.path is not None
        problems.append(Problem(second.path, f"{second.owner} claims {second}, which {first.owner} has ({first})"))
        if claim.start + claim.size > other.start + other.size:
            last[claim.space] = claim
    return problems


def _position(claim: Claim) -> int:
    assert claim.path is not None
    return int(claim.path[len("device[") : claim.path.index("]")])

"""Devices on the buses: their names, regions and interrupts, and collisions between their claims."""

from typing import Any, NamedTuple

from attrs import evolve

from vmspec import layout
from vmspec.devices.isa import ACPI, LPC, FwCfg, PCIHost, Vmgenid
from vmspec.devices.models import KINDS, Device
from vmspec.devices.net import VirtioNet
from vmspec.devices.regions import SPACES, Region
from vmspec.devices.storage import Flash, VirtioBlk, VirtioFS
from vmspec.devices.virtio import VirtioBalloon, VirtioModel, VirtioVsock
from vmspec.plan import flash, memory_map, virtual, windows
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedDevice
from vmspec.registers import pci, q35, virtio
from vmspec.schema.problems import Problem
from vmspec.schema.units import format_size
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
    spec: Spec, slots: tuple[Slot, ...], irqchip: bool, pit: bool, problems: list[Problem], uefi: bool = False
) -> tuple[PlannedDevice, ...]:
    """The spec's devices, named by kind and number within it: serial0, serial1, i8042-0. What the machine needs beside
    them comes last: a host bridge if one is on PCI, the bridges that UEFI firmware (``uefi``) needs, fw_cfg for any
    firmware, the chips of virtual time."""
    counts: dict[str, int] = {}
    planned: list[PlannedDevice] = []
    chipset = _chipset(spec, uefi)
    placing = _Placing(spec, chipset, slots)
    owners = _Owners(problems)
    cids: set[int] = set()
    claims = _machine(slots, irqchip, pit)
    for index, given in enumerate(spec.devices):
        path = f"device[{index}]"
        model = evolve(given, chipset=chipset) if isinstance(given, PCIHost) else given
        device = placing.place(named(model, counts), model, path, problems)
        if isinstance(model, VirtioNet):
            mac = model.mac or _mac(spec.vm.name, device.name)
            device = device._replace(options={**device.options, "mac": mac})
            owners.claim(("mac", mac), device.name, f"{path}.mac", f"has the address {mac}")
            if model.tap is not None and "%d" not in model.tap:
                owners.claim(("tap", model.tap), device.name, f"{path}.tap", f"has the tap {model.tap}")
            for at, forward in enumerate(model.forward):
                owners.forward(forward, device.name, f"{path}.forward[{at}]")
        if isinstance(model, VirtioVsock):
            cid = _cid(spec, cids) if model.cid is None else model.cid
            device = device._replace(options={**device.options, "cid": cid})
            cids.add(cid)
            owners.claim(("cid", cid), device.name, f"{path}.cid", f"has the address {cid}")
        if isinstance(model, VirtioBlk | VirtioNet) and spec.vm.time == "virtual":
            device = device._replace(options={**device.options, **virtual.pace(model)})
        if isinstance(model, Vmgenid):
            owners.claim(("generation", ""), device.name, path, "has the machine's generation ID")
            if not any(isinstance(other, ACPI) for other in spec.devices):
                problems.append(Problem(path, 'the guest finds it by ACPI: add a [[device]] with kind = "acpi"'))
        if isinstance(model, VirtioFS):
            owners.claim(("tag", model.tag), device.name, f"{path}.tag", f"has the tag {model.tag}")
        if isinstance(model, VirtioBalloon) and (model.size or 0) >= spec.vm.memory:
            message = f"vm.memory is {format_size(spec.vm.memory)}, and the guest needs some of it"
            problems.append(Problem(f"{path}.size", message, format_size(model.size or 0)))
        planned.append(device)
        for claim in _claims(device, path, slots):
            if problem := _outside(claim):
                problems.append(problem)
            else:
                claims.append(claim)
    whole = chipset == "q35"
    for index, model in enumerate(spec.devices):
        if isinstance(model, LPC) and not whole:
            bridge = next(at for at, other in enumerate(spec.devices) if isinstance(other, PCIHost))
            message = f"belongs to the chipset q35, and device[{bridge}].chipset is {chipset}: leave it out"
            problems.append(Problem(f"device[{index}]", message))
    bridges: list[Device] = [PCIHost(chipset)] if (placing.functions or whole) and not counts.get("pci-host") else []
    bridges += [LPC()] if whole and not counts.get("lpc") else []
    needed = spec.boot.firmware is not None and spec.vm.time == "host" and not counts.get("fw-cfg")
    for model in (*bridges, *([FwCfg()] if needed else []), *virtual.chips(spec)):
        planned.append(named(model, counts))
        claims += _claims(planned[-1], None, slots)
    problems += _collisions(claims)
    return tuple(planned)


def _chipset(spec: Spec, uefi: bool) -> str:
    """What the host bridge is, if there is one."""
    given = next((model.chipset for model in spec.devices if isinstance(model, PCIHost)), None)
    return given or ("q35" if uefi or any(isinstance(model, LPC) for model in spec.devices) else "none")


def named(model: Device, counts: dict[str, int]) -> PlannedDevice:
    """A model's device, with a name of its own among those that ``counts`` has counted by kind."""
    kind = NAMES[type(model)]
    number = counts.setdefault(kind, 0)
    counts[kind] += 1
    dash = "-" if kind[-1].isdigit() else ""
    return PlannedDevice(f"{kind}{dash}{number}", kind, options(model), model.regions(), model.irq)


class _Owners:
    """Which device has what only one can have: an address, a tap, a port of this host."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._owners: dict[tuple[str, str | int], str] = {}
        self._ports: dict[tuple[str, str], list[tuple[str, str]]] = {}  # by protocol and port: address and device

    def claim(self, what: tuple[str, str | int], device: str, path: str, words: str) -> None:
        """Give it to a device, unless another has it."""
        if (other := self._owners.setdefault(what, device)) != device:
            self._problems.append(Problem(path, f"{other} {words} too"))

    def forward(self, forward: str, device: str, path: str) -> None:
        """Give a device the port that a forward listens at; 0.0.0.0 stands for all addresses."""
        protocol, address, port, _ = forward.split(":")
        taken = self._ports.setdefault((protocol, port), [])
        for there, other in taken:
            if address == there or "0.0.0.0" in (address, there):
                self._problems.append(Problem(path, f"{other} forwards {protocol} port {port} of {there} already"))
                break
        taken.append((address, device))


class _Placing:
    """Gives virtio devices their transport, places and interrupts, in the order of the file, and flash memory its
    place."""

    def __init__(self, spec: Spec, chipset: str, slots: tuple[Slot, ...]) -> None:
        self._default = spec.vm.transport
        # Virtual time has no I/O APIC.
        self._irqs = tuple(irq for irq in layout.VIRTIO_IRQS if irq < layout.ISA_IRQS or spec.vm.time == "host")
        self._taken = {model.irq for model in spec.devices}  # interrupts
        # The first address that is free for a base address register.
        self.flash = flash.Placing(slots)
        self._next = windows.chipset(chipset, slots)[0][1]
        self.functions = 0  # on the PCI bus, beside the chipset's
        self._most = (q35.LPC_DEVICE if chipset == "q35" else pci.DEVICES) - 1

    def place(self, device: PlannedDevice, model: Device, path: str, problems: list[Problem]) -> PlannedDevice:
        """Place a device, if that is not the spec's choice."""
        if isinstance(model, Flash):
            return self.flash.place(device, model, path, problems)
        if isinstance(model, Vmgenid):
            return self._mmio(device, path, problems)
        if not isinstance(model, VirtioModel):
            return device
        transport = model.transport or self._default
        device = device._replace(
            transport=transport, options={name: value for name, value in device.options.items() if name != "transport"}
        )
        return self._mmio(device, path, problems) if transport == "mmio" else self._pci(device, model, path, problems)

    def _irq(self, choice: tuple[int, ...]) -> int | None:
        """The first interrupt that is free, None if none is."""
        irq = next((irq for irq in choice if irq not in self._taken), None)
        self._taken.add(irq)
        return irq

    def _mmio(self, device: PlannedDevice, path: str, problems: list[Problem]) -> PlannedDevice:
        """The next of the free interrupts, and the page of registers that goes with it. A machine without interrupt
        controllers does not use the interrupt."""
        irq = self._irq(self._irqs)
        if irq is None:
            message = f"no interrupt is left for {device.name}: leave out a device, or connect a virtio device by pci"
            problems.append(Problem(path, message))
            return device
        start = layout.VIRTIO_MMIO + layout.PAGE * self._irqs.index(irq)
        regions = tuple(region._replace(start=start) for region in device.regions)
        return device._replace(irq=irq, regions=regions)

    def _pci(self, device: PlannedDevice, model: VirtioModel, path: str, problems: list[Problem]) -> PlannedDevice:
        """The next device number on the bus, places at power-on, and an interrupt for INTA while there is one."""
        self.functions += 1
        if self.functions > self._most:
            message = f"the PCI bus has no place left for {device.name}: leave out a device"
            problems.append(Problem(path, message))
            return device._replace(regions=())
        bars = []
        for region in model.pci_regions():
            start = -(-self._next // region.size) * region.size
            self._next = start + region.size
            bars.append(start)
        configuration = Region("configuration", "pci", pci.CONFIGURATION_SIZE, self.functions << pci.DEVICE)
        regions = (*model.pci_regions(), configuration)
        return device._replace(irq=self._irq(layout.PCI_IRQS), regions=regions, bars=tuple(bars))


def _mac(machine: str, device: str) -> str:
    """An Ethernet address that is the same in each run: local, and of one interface (IEEE 802, 8.4)."""
    from hashlib import blake2b  # late: few specs need it

    found = bytearray(blake2b(f"{machine}\0{device}".encode(), digest_size=6).digest())
    found[0] = found[0] & 0xFC | 2
    return found.hex(":")


def _cid(spec: Spec, cids: set[int]) -> int:
    """The first address that no virtio-vsock device has, or is given later."""
    given = {model.cid for model in spec.devices if isinstance(model, VirtioVsock)}
    return next(cid for cid in range(virtio.CID_LEAST, virtio.CID_MOST) if cid not in given and cid not in cids)


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
    regions = [Region(slot.path.name if slot.path else "RAM", "mmio", slot.size, slot.start) for slot in slots]
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


def _claims(device: PlannedDevice, path: str | None, slots: tuple[Slot, ...]) -> list[Claim]:
    """What a device claims. ``path`` is its table in the spec, None: the planner has added it."""

    def claim(space: str, start: int, size: int) -> Claim:
        return Claim(device.name, space, start, size, None if path is None else path + _key(device, space))

    claims = [claim(at.space, at.start, at.size) for at in device.regions if at.start is not None]
    if device.irq is not None:
        claims.append(claim("irq", device.irq, 1))
    if device.kind == "pci-host":
        claims += [claim(*window) for window in windows.windows(device, slots)]
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

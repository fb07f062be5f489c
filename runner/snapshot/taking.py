"""Taking a snapshot of a machine that stands still."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from runner.devices.state import StateError
from runner.kvm.saved import SavedControllers, SavedVcpu, all_msrs, listed
from runner.machine.guesttime import Clocks
from runner.machine.machine import Machine
from runner.memory import MemoryRegion
from runner.snapshot.chain import MOST, Chain, Place
from runner.snapshot.contents import Contents, Extent, File, Written
from runner.snapshot.errors import SnapshotError
from runner.snapshot.snapshotfile import CHUNK, PAGE, ZEROS, Piece, Writer
from runner.snapshot.states import tree
from vmspec import __version__
from vmspec.host.atomic import replaced
from vmspec.plan.plan import PlannedDevice
from vmspec.plan.virtual import KERNEL_MSRS

VMXE, SVME = 1 << 13, 1 << 12  # of CR4 (Intel SDM volume 3, 2.5) and of EFER (AMD APM volume 2, 3.1.7)
ELSEWHERE = ("virtio-fs", "vhost-user")


@contextmanager
def based(path: Path, base: Path | None, machine: Machine) -> Iterator[Chain | None]:
    """The snapshot in the file ``base``, on which the one of ``machine`` that is to be written to ``path`` is based;
    None: none. It is read once for its sums, before the guest stands still. Raises SnapshotError."""
    if base is None:
        yield None
        return
    with closing(Chain(base)) as chain:
        if len(chain.snapshots) >= MOST:
            raise SnapshotError(f"{base} is the last of a chain of {MOST} snapshots: take one without a base")
        if any(_same(path, each.path) for each in chain.snapshots):
            raise SnapshotError(f"{path} would replace the snapshot that it is based on")
        chain.check(_goes_on(machine))
        yield chain


def take(machine: Machine, path: Path, base: Chain | None = None) -> int:
    """Write a snapshot of a machine that stands still; return the bytes of memory in it. The file appears whole or not
    at all. It has only what differs from ``base``, None: all. Raises as :func:`write` does."""
    with replaced(path) as file:
        return write(machine, file, base)


def _goes_on(machine: Machine) -> Callable[[], None]:
    """What raises SnapshotError once the run has ended."""

    def goes_on() -> None:
        if machine.stopping.is_set():
            raise SnapshotError("the run has ended: the snapshot was not finished")

    return goes_on


def _same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def write(machine: Machine, file: BinaryIO, base: Chain | None = None) -> int:
    """The same into an empty file. Raises SnapshotError, KvmError, OSError, and what a user's device raises."""
    for device in machine.plan.devices:
        if is_elsewhere(device):
            raise SnapshotError(f"{device.name} cannot be saved: another process has its state")

    for number, vcpu in enumerate(machine.vcpus):
        registers = vcpu.registers().state
        if registers.cr4 & VMXE or registers.efer & SVME:
            raise SnapshotError(f"vCPU {number} runs a hypervisor, whose state vmrun cannot save (CR4.VMXE, EFER.SVME)")

    goes_on = _goes_on(machine)
    try:
        devices = {name: tree(state) for name, state in machine.buses.save().items()}
    except StateError as error:
        raise SnapshotError(str(error)) from error
    plan, time = machine.plan, machine.time
    msrs = all_msrs(machine.system) if time is None else listed(KERNEL_MSRS)
    writer = Writer(file, goes_on)
    now = tuple(files(machine))
    if base is not None and (why := base.unlike(plan, now)) is not None:
        raise SnapshotError(f"{base.newest.path} is a snapshot of another machine: it has other {why}")
    memory = tuple(writer.put(_memory(machine, base, goes_on)))
    written = tuple(_written(machine, writer, base))
    contents = Contents(
        version=__version__,
        plan=plan,
        processor=tuple(machine.processor),
        tsc_khz=machine.host_tsc_khz(),
        vcpus=tuple(SavedVcpu.of(vcpu, msrs, plan.irqchip) for vcpu in machine.vcpus),
        controllers=SavedControllers.of(machine.vm, plan.pit) if plan.irqchip else None,
        clocks=machine.guest_time.show() if time is None else Clocks(),
        time=None if time is None else time.save(machine.vcpus[0], bool(machine.threads[0].debug.after_sti)),
        devices=devices,
        files=now,
        memory=memory,
        written=written,
        base=None if base is None else base.as_base(),
    )
    writer.finish(contents)
    return sum(extent.size for extent in memory)


def is_elsewhere(device: PlannedDevice) -> bool:
    """Whether another process has what no state of the device has: what serves it, or its temporary file."""
    options = device.options
    return device.kind in ELSEWHERE or (
        device.kind == "virtio-blk" and options["format"] != "raw" and options["mode"] == "overlay"
    )


def _memory(machine: Machine, base: Chain | None, goes_on: Callable[[], None]) -> Iterator[Piece]:
    """What the guest's memory has: RAM what is not zero, a mapped file what differs from it; but only the pages that
    differ from those of a base. Their contents are compared: KVM's log of dirty pages lacks what devices write."""
    place = Place(base.memory()) if base is not None else None
    for region in machine.memory.regions:
        for at in range(0, 0 if region.read_only else region.size, CHUNK):
            goes_on()
            address, size = region.start + at, min(CHUNK, region.size - at)
            data, before = machine.memory.read(address, size), _before(machine, region, at, size)
            if place is not None:
                before, _ = place.over(address, before)
            if data != before:
                yield from [Piece(address, data)] if place is None else _pages(address, data, before)


def _pages(address: int, data: bytes, before: bytes) -> Iterator[Piece]:
    """The pages that differ."""
    for at in range(0, len(data), PAGE):
        if data[at : at + PAGE] != before[at : at + PAGE]:
            yield Piece(address + at, data[at : at + PAGE])


def _before(machine: Machine, region: MemoryRegion, at: int, size: int) -> bytes:
    """What a new machine has there."""
    mapped = any(slot.start == region.start for slot in machine.plan.mapped)
    return os.pread(region.fd, size, at).ljust(size, b"\0") if mapped else ZEROS[:size]


def _written(machine: Machine, writer: Writer, base: Chain | None) -> Iterator[Written]:
    """What the guest has written to disks and flash memory that no file keeps, unless a base has it."""
    for device in machine.plan.devices:
        if (private := machine.private.get(device.name)) is not None:
            parts = base.written(device.name) if base is not None else []
            place, changed = Place(parts) if base is not None else None, Ranges()
            pieces = (piece for change in changed.of(private.changes()) for piece in _new(change, place))
            yield Written(device.name, writer.put(pieces))
            if base is not None and not all(changed.have(extent) for _, extent in parts):
                raise SnapshotError(
                    f"{base.newest.path} cannot be its base: {device.name} has writes there that this machine has not "
                    "made; take one without a base"
                )


class Ranges:
    """The ranges that changes of a device's contents have, which come in their order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def of(self, changes: Iterable[tuple[int, bytes]]) -> Iterator[Piece]:
        """The changes, one after the other."""
        for at, data in changes:
            if self._ends and self._ends[-1] == at:
                self._ends[-1] += len(data)
            else:
                self._starts.append(at)
                self._ends.append(at + len(data))
            yield Piece(at, data)

    def have(self, extent: Extent) -> bool:
        """Whether all of it is in one of those that have come."""
        number = bisect_right(self._starts, extent.address) - 1
        return number >= 0 and extent.address + extent.size <= self._ends[number]


def _new(piece: Piece, place: Place | None) -> Iterator[Piece]:
    """The parts of a piece that a base does not have."""
    if place is None:
        yield piece
        return
    for at in range(0, len(piece.data), PAGE):
        address, data = piece.address + at, piece.data[at : at + PAGE]
        if place.over(address, data) != (data, True):
            yield Piece(address, data)


def files(machine: Machine) -> Iterator[File]:
    """The images of disks and flash memory, as they are now: the guest goes on only with these contents."""
    for index, device in enumerate(machine.plan.devices):
        if device.kind not in ("virtio-blk", "flash"):
            continue
        where, path = f"device[{index}].path", Path(device.options["path"])
        try:
            status = path.stat()
        except OSError as error:
            raise SnapshotError(f"{where}: {path} cannot be read any more: {error.strerror}") from error
        yield File(where, status.st_size, status.st_mtime_ns)


def written_file(device: PlannedDevice) -> Path | None:
    """The file in which a device keeps what the guest writes; None: it has none."""
    if device.kind in ("virtio-blk", "flash") and device.options["mode"] == "rw":
        return Path(device.options["path"])
    return None

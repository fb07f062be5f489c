"""Taking a snapshot of a machine that stands still."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runner.devices.state import StateError
from runner.kvm.saved import SavedControllers, SavedVcpu, all_msrs, listed
from runner.machine.guesttime import Clocks
from runner.machine.machine import Machine
from runner.memory import MemoryRegion
from runner.snapshot.contents import Contents, File, Written
from runner.snapshot.snapshotfile import CHUNK, ZEROS, Piece, SnapshotError, Writer
from runner.snapshot.states import tree
from vmspec import __version__
from vmspec.host.atomic import replaced
from vmspec.plan.plan import PlannedDevice
from vmspec.plan.virtual import KERNEL_MSRS

VMXE, SVME = 1 << 13, 1 << 12  # of CR4 (Intel SDM volume 3, 2.5) and of EFER (AMD APM volume 2, 3.1.7)
ELSEWHERE = ("virtio-fs", "vhost-user")


def take(machine: Machine, path: Path) -> int:
    """Write a snapshot of a machine that stands still; return the bytes of memory in it. The file appears whole or not
    at all. Raises as :func:`write` does."""
    with replaced(path) as file:
        return write(machine, file)


def write(machine: Machine, file: BinaryIO) -> int:
    """The same into an empty file. Raises SnapshotError, KvmError, OSError, and what a user's device raises."""
    for device in machine.plan.devices:
        if is_elsewhere(device):
            raise SnapshotError(f"{device.name} cannot be saved: another process has its state")

    for number, vcpu in enumerate(machine.vcpus):
        registers = vcpu.registers().state
        if registers.cr4 & VMXE or registers.efer & SVME:
            raise SnapshotError(f"vCPU {number} runs a hypervisor, whose state vmrun cannot save (CR4.VMXE, EFER.SVME)")

    def goes_on() -> None:
        if machine.stopping.is_set():
            raise SnapshotError("the run has ended: the snapshot was not finished")

    try:
        devices = {name: tree(state) for name, state in machine.buses.save().items()}
    except StateError as error:
        raise SnapshotError(str(error)) from error
    plan, time = machine.plan, machine.time
    msrs = all_msrs(machine.system) if time is None else listed(KERNEL_MSRS)
    writer = Writer(file, goes_on)
    memory = tuple(extent for region in machine.memory.regions for extent in writer.put(_memory(machine, region)))
    written = tuple(_written(machine, writer))
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
        files=tuple(files(machine)),
        memory=memory,
        written=written,
    )
    writer.finish(contents)
    return sum(extent.size for extent in memory)


def is_elsewhere(device: PlannedDevice) -> bool:
    """Whether another process has what no state of the device has: what serves it, or its temporary file."""
    options = device.options
    return device.kind in ELSEWHERE or (
        device.kind == "virtio-blk" and options["format"] != "raw" and options["mode"] == "overlay"
    )


def _memory(machine: Machine, region: MemoryRegion) -> Iterator[Piece]:
    """What a region of the guest's memory has: RAM what is not zero, a mapped file what differs from it."""
    for at in range(0, 0 if region.read_only else region.size, CHUNK):
        size = min(CHUNK, region.size - at)
        data = machine.memory.read(region.start + at, size)
        if data != _before(machine, region, at, size):
            yield Piece(region.start + at, data)


def _before(machine: Machine, region: MemoryRegion, at: int, size: int) -> bytes:
    """What a new machine has there."""
    mapped = any(slot.start == region.start for slot in machine.plan.mapped)
    return os.pread(region.fd, size, at).ljust(size, b"\0") if mapped else ZEROS[:size]


def _written(machine: Machine, writer: Writer) -> Iterator[Written]:
    """What the guest has written to disks and flash memory that no file keeps."""
    for device in machine.plan.devices:
        if (private := machine.private.get(device.name)) is not None:
            yield Written(device.name, writer.put(Piece(*change) for change in private.changes()))


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

"""Plans for loaders' tests, from images in a temporary directory."""

from pathlib import Path

from tests.vmspec.image import images
from vmspec.devices.isa import ACPI, I8042, RTC, Serial
from vmspec.devices.models import Device
from vmspec.devices.virtio import VirtioRng
from vmspec.plan.plan import Plan
from vmspec.planner import plan
from vmspec.spec.models import VM, Boot, Spec

PC: tuple[Device, ...] = (Serial(), Serial(com=2), I8042(), RTC(), ACPI(), VirtioRng(), VirtioRng())


def linux(
    directory: Path,
    image: bytes,
    devices: tuple[Device, ...] = PC,
    vcpus: int = 2,
    memory: int = 64 << 20,
    **boot: object,
) -> Plan:
    """A Linux guest with ``image`` as its kernel and an initrd of 5,006 bytes."""
    (directory / "kernel").write_bytes(image)
    (directory / "initrd").write_bytes(b"070701" + bytes(4990) + b"end of rd!")
    start = Boot(
        kernel=directory / "kernel", initrd=directory / "initrd", cmdline="console=ttyS0", unpack=False, **boot
    )
    return plan(Spec(vm=VM(name="linux", memory=memory, vcpus=vcpus), boot=start, devices=devices))


def flat(mode: str, code: bytes = b"\xf4", **boot: object) -> Plan:
    """A flat guest of 1 MiB."""
    return plan(Spec(vm=VM(name="flat", memory=1 << 20), boot=Boot(code=code, mode=mode, **boot)))


def bzimage() -> bytes:
    """A bzImage whose protected-mode part can be told from anything else."""
    return images.bzimage(b"payload" * 100)

"""Fuzzes the devices of firmware by coverage (atheris): hostile firmware at fw_cfg, or at flash memory.

``python -m tests.fuzz.firmware fw-cfg|flash [libFuzzer's options]``; an exception of any kind is a fault. What fw_cfg
gives by port and by transfers is compared with a model of its own; flash memory loses bits only by programming.
"""

import os
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["runner.devices.fwcfg", "runner.devices.flash", "runner.backends.flash"]):
    from runner.backends.flash import Image
    from runner.devices.flash import MODES, Flash
    from runner.devices.fwcfg import CHUNK, OFFSET_MOST, FwCfg, Item

from runner.boot import Images
from runner.boot import fwcfg as offered
from runner.memory import GuestMemory
from tests.runner.devices.conftest import Guest
from tests.vmspec.image.images import bzimage, elf, gzipped
from vmspec.devices.isa import ACPI, Serial
from vmspec.plan.calls import Slot
from vmspec.planner import plan
from vmspec.registers import flash as F
from vmspec.registers import fwcfg as R
from vmspec.spec.models import VM, Boot, FirmwareFile, Spec

STEPS = 100  # of one input
LOW, HIGH = Slot(0, 0, 0x10000, 0), Slot(1, 0x20000, 0x8000, 0x10000)
ROM = b"SeaBIOS".ljust(4080, b"\0") + b"\xea\x5b\xe0\x00\xf0".ljust(16, b"\0")
BLOCKS = 4  # of a flash memory


def items(folder: Path) -> dict[int, Item]:
    """What a machine with a kernel has for firmware, an item that is as large as one can be, and a file that has become
    shorter."""
    for name, data in {"rom": ROM, "vmlinuz": bzimage(gzipped(elf())), "initrd": b"070701" + bytes(3000)}.items():
        (folder / name).write_bytes(data)
    files = tuple(FirmwareFile(name, folder / "rom") for name in ("genroms/linuxboot_dma.bin", "opt/" + "x" * 51))
    boot = Boot(
        firmware=folder / "rom", kernel=folder / "vmlinuz", initrd=folder / "initrd", cmdline="quiet", files=files
    )
    planned = plan(Spec(vm=VM(name="x", memory=64 << 20), boot=boot, devices=(Serial(), ACPI())))
    found = dict(offered.items(planned, Images(planned.files)))
    last = max(found)
    found[last + 1] = Item(OFFSET_MOST, lambda at, size: bytes(size))
    found[last + 2] = Item(5000, lambda at, size: b"short"[at:])
    return found


class Model:
    """fw_cfg, as its specification has it: the item that is selected and how far it has been read."""

    def __init__(self, items: dict[int, Item]) -> None:
        self.contents = {key: item.read(0, min(item.size, CHUNK)) for key, item in items.items()}
        self.key = self.offset = 0

    def select(self, key: int) -> None:
        """Select an item."""
        self.key, self.offset = key & ~R.WRITE, 0

    def next(self, size: int) -> bytes:
        """The bytes that are read next."""
        data = self.contents.get(self.key, b"")[self.offset : self.offset + size].ljust(size, b"\0")
        self.skip(size)
        return data

    def skip(self, size: int) -> None:
        """Go on by so many bytes."""
        self.offset = min(self.offset + size, OFFSET_MOST)


class Firmware:
    """fw_cfg and its model, with RAM that has a hole."""

    def __init__(self, items: dict[int, Item]) -> None:
        self.memory = GuestMemory((LOW, HIGH))
        self.guests = [Guest(FwCfg(items), memory=self.memory, firsts={"registers": 0, "dma": 4}) for _ in range(2)]
        self.model = Model(items)
        self.keys = [*items]

    def ram(self) -> bytearray:
        """All of RAM, with ones where there is none."""
        hole = b"\xff" * (HIGH.start - LOW.size)
        return bytearray(self.memory.read(0, LOW.size) + hole + self.memory.read(HIGH.start, HIGH.size))

    def is_ram(self, at: int, size: int) -> bool:
        """Whether all of a range is RAM."""
        return any(slot.start <= at and at + size <= slot.start + slot.size for slot in (LOW, HIGH))

    def transfer(self, at: int, expected: bytearray) -> None:
        """Do to the model, and to a copy of RAM, what the structure at an address asks for."""
        model, model_error = self.model, R.ERROR
        size = struct.calcsize(R.TRANSFER)
        if self.is_ram(at, size):
            control, length, address = struct.unpack_from(R.TRANSFER, expected, at)
            if control & R.SELECT:
                model.select(control >> 16)
            if control & R.READ:
                model_error = self.read(length, address, expected)
            elif control & R.PUT:
                model_error = R.ERROR if length else 0
            else:
                model_error = 0
                if control & R.SKIP:
                    model.skip(length)
        if self.is_ram(at, 4):
            expected[at : at + 4] = model_error.to_bytes(4, "big")

    def read(self, length: int, address: int, expected: bytearray) -> int:
        """The error of a transfer to RAM. No RAM is as large as a piece, so a longer transfer ends with its first."""
        data = self.model.next(min(length, CHUNK))
        if length and not self.is_ram(address, len(data)):
            return R.ERROR
        expected[address : address + len(data)] = data
        return R.ERROR if length > CHUNK else 0

    def run(self, give: Any) -> None:
        """One input."""
        guest, other = self.guests
        guest.device.reset()
        self.model.select(0)
        for slot in (LOW, HIGH):
            self.memory.write(slot.start, bytes(slot.size))
        for _ in range(STEPS):
            if not give.remaining_bytes():
                break
            match give.ConsumeIntInRange(0, 6):
                case 0:
                    key = self.key(give)
                    guest.write(R.SELECTOR, key, 2)
                    self.model.select(key)
                case 1:
                    for _ in range(give.ConsumeIntInRange(1, 40)):
                        assert guest.read(R.DATA, 1) == self.model.next(1)[0]
                case 2 | 3 | 4:
                    self.ask(guest, give)
                case 5:  # any access that begins no transfer
                    at, size = give.ConsumeIntInRange(0, 11), 1 << give.ConsumeIntInRange(0, 3)
                    if (at, size) not in ((R.DATA, 1), (4 + R.HIGH, 8), (4 + R.LOW, 4), (4 + R.HIGH, 4)):
                        assert 0 <= guest.read(at, size) < 1 << 8 * size
                        if (at, size) != (R.SELECTOR, 2):
                            guest.write(at, give.ConsumeUInt(8) & (1 << 8 * size) - 1, size)
                case 6:
                    other.device.load(guest.device.save())
                    guest, other = other, guest
        self.guests = [guest, other]

    def key(self, give: Any) -> int:
        """A key of an item, most often."""
        known = give.PickValueInList(self.keys) | R.WRITE * give.ConsumeBool()
        return known if give.ConsumeIntInRange(0, 3) else give.ConsumeUInt(2)

    def ask(self, guest: Guest, give: Any) -> None:
        """A transfer."""
        at = give.ConsumeIntInRange(0, HIGH.start + HIGH.size) if give.ConsumeBool() else give.ConsumeUInt(8)
        key = self.key(give)
        control = key << 16 | give.ConsumeIntInRange(0, 31)
        length = give.ConsumeIntInRange(0, 5000) if give.ConsumeBool() else give.ConsumeUInt(4)
        address = give.ConsumeIntInRange(0, HIGH.start + HIGH.size) if give.ConsumeBool() else give.ConsumeUInt(8)
        if self.is_ram(at, struct.calcsize(R.TRANSFER)):
            self.memory.write(at, struct.pack(R.TRANSFER, control, length, address))
        expected = self.ram()
        self.transfer(at, expected)
        data = at.to_bytes(8, "big")
        if give.ConsumeBool():
            guest.write(4 + R.HIGH, int.from_bytes(data, "little"), 8)
        else:
            guest.write(4 + R.HIGH, int.from_bytes(data[:4], "little"), 4)
            guest.write(4 + R.LOW, int.from_bytes(data[4:], "little"), 4)
        assert self.ram() == expected


class Variables:
    """Flash memory in a file."""

    def __init__(self) -> None:
        self.file = os.memfd_create("flash")
        self.size = BLOCKS * F.BLOCK
        self.guests = [Guest(Flash(Image(self.file)), firsts={"array": 0}) for _ in range(2)]

    def data(self) -> bytes:
        """Its contents."""
        return os.pread(self.file, self.size + 1, 0)

    def run(self, give: Any) -> None:
        """One input."""
        guest, other = self.guests
        os.pwrite(self.file, bytes(range(256)) * (self.size // 256), 0)
        guest.device.reset()
        for shown in (guest.direct, other.direct):
            shown[:] = [shown[-1]]
        for _ in range(STEPS):
            if not give.remaining_bytes():
                break
            size = 1 << give.ConsumeIntInRange(0, 3)
            at = give.ConsumeIntInRange(0, self.size - size)
            if give.ConsumeIntInRange(0, 9) == 0:
                other.device.load(guest.device.save())
                guest, other = other, guest
            value = give.PickValueInList([*F.NAMES]) if give.ConsumeBool() else give.ConsumeUInt(size)
            self.write(guest, at, size, value & (1 << 8 * size) - 1)
        self.guests = [guest, other]

    def write(self, guest: Guest, at: int, size: int, value: int) -> None:
        """A write, and what it may change: each byte is a command or the data of one, at its own address."""
        before, mode = self.data(), guest.device.save().mode
        guest.write(at, value, size)
        after = self.data()
        assert len(after) == self.size
        written = value.to_bytes(size, "little")
        may_erase = mode == F.ERASE or F.ERASE in written
        for place in range(self.size) if before != after else ():
            old, new = before[place], after[place]
            if old == new:
                continue
            erased = may_erase and new == F.ERASED and place // F.BLOCK in (at // F.BLOCK, (at + size - 1) // F.BLOCK)
            assert erased or (at <= place < at + size and new == old & written[place - at]), place
        state = guest.device.save()
        assert state.mode in MODES
        assert guest.direct[-1] == (state.mode == F.READ_ARRAY)
        read = guest.read(at, size).to_bytes(size, "little")
        match state.mode:
            case F.READ_ARRAY:
                assert read == after[at : at + size]
            case F.READ_STATUS:
                assert read == bytes([state.status]) * size


def main() -> None:
    """Fuzz the device that the first argument names."""
    kind = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        machine = Firmware(items(Path(folder))) if kind == "fw-cfg" else Variables()
    atheris.Setup(sys.argv, lambda data: machine.run(atheris.FuzzedDataProvider(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()

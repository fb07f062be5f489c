"""Random exits: over all devices at once without KVM, and of guests that are noise."""

import contextlib
import random
import re
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from runner.devices import Board, fwcfg, make
from runner.devices.device import Device
from runner.devices.serial import HOST_BUFFER
from runner.devices.services import Services
from runner.machine.bus import Buses
from runner.machine.clock import HostClock
from runner.machine.configuration import ConfigurationSpace
from runner.machine.inputs import Inputs
from runner.machine.virtqueue import Queue
from runner.memory import GuestMemory
from runner.recording.requests import Requests
from runner.recording.rings import Rings
from tests.fakes.fakeflash import FlashFile
from vmspec import layout
from vmspec.devices import isa, models, virtio
from vmspec.devices.regions import Region
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedDevice
from vmspec.plan.resources import options
from vmspec.registers.flash import BLOCK

# Not those that need something of the host's: hostile drivers for what C serves are in tests/fuzz.
HOSTS = ("python", "virtio-python", "virtio-blk", "virtio-net", "virtio-vsock", "virtio-pmem", "virtio-fs")
HOSTS += ("vhost-user",)
KINDS = {kind: model for kind, model in models.KINDS.items() if kind not in HOSTS}
NEEDED = {"flash": {"path": Path("/vars.fd")}}  # the keys without which a kind has no table
MEMORY, VIRTIO = 0xD0000000, 0xD8000000
RAM = 1 << 20  # bytes of the guest's RAM, in which virtio devices look for queues
LIMIT = 512 << 10  # KiB of memory that the process may take meanwhile


@pytest.fixture
def grown():
    """How far the process's peak of memory since now lies above what it has now, in KiB. Other tests had peaks too."""

    def peak():
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew: proc_pid_clear_refs(5)
    before = peak()
    return lambda: peak() - before


# Registers and values that mean something, so that noise gets somewhere.
TELLING = bytes.fromhex("00 01 02 03 05 07 08 0a 0b 0c 0d 10 13 1b 20 60 80 aa c0 d0 d1 d2 d4 ed f0 f2 fa ff")
STATUSES = {0, 1, 2, 3, 4, 5}  # all but those of a trace that fails and of an interruption; and a debug-exit's own


class Registers(Device):
    """A plain register model with shadow registers and coalesced writes. An access past its end raises IndexError."""

    def __init__(self, regions):
        self.data = {region.name: bytearray(region.size) for region in regions}

    def start(self):
        self.bus.shadow("low", 0, 0x55)
        self.bus.writes("low", 1, "coalesced")
        self.bus.shadow("low", 2, 0)
        self.bus.shadow_writes("low", 2, 0x0F)
        self.bus.writes("low", 3, "ignored")

    def read(self, region, offset, size):
        return sum(self.data[region][offset + at] << 8 * at for at in range(size))

    def write(self, region, offset, size, value):
        for at in range(size):
            self.data[region][offset + at] = value >> 8 * at & 0xFF


def planned_devices():
    """Every kind of device, the COM ports all, and models at odd places side by side."""
    made = [isa.Serial(com=com) for com in (1, 2, 3, 4)]
    made += [kind(**NEEDED.get(name, {})) for name, kind in KINDS.items() if name != "serial"]
    names = {kind: name for name, kind in KINDS.items()}
    devices = []
    for number, model in enumerate(made):
        device = PlannedDevice(f"d{number}", names[type(model)], options(model), model.regions(), model.irq)
        if isinstance(model, isa.Vmgenid):
            device = device._replace(regions=(device.regions[0]._replace(start=VIRTIO + 0x1000 * number),))
        if isinstance(model, virtio.VirtioModel):
            region = device.regions[0]._replace(start=VIRTIO + 0x1000 * number)
            devices.append(device._replace(regions=(region,), transport="mmio"))
            bar, configuration = model.pci_regions()[0], Region("configuration", "pci", 256, number << 15)
            start = layout.PCI_MEMORY + bar.size * number
            device = device._replace(
                name=f"p{number}", regions=(bar, configuration), transport="pci", irq=5, bars=(start,)
            )
        devices.append(device)
    for regions in (
        (Region("low", "port", 5, 0x300),),
        (Region("low", "port", 4, 0x305),),
        (Region("low", "mmio", 13, MEMORY), Region("high", "mmio", 7, MEMORY + 0x1000)),
        (Region("low", "mmio", 4096 - 13, MEMORY + 13),),
    ):
        devices.append(PlannedDevice(f"d{len(devices)}", "registers", {}, regions))
    return devices


def placed(device):
    """Its regions; where a PCI function's lie at the start, and often stay."""
    bars = iter(device.bars)
    return [region if region.start is not None else region._replace(start=next(bars)) for region in device.regions]


class Line:
    def set(self, level):
        assert isinstance(level, bool)

    def pulse(self):
        pass

    def route(self, address, data):
        assert 0 <= address < 1 << 64
        assert 0 <= data < 1 << 32

    def eventfd(self):
        return None


@contextlib.contextmanager
def machine(tmp_path, failures):
    """The buses of all devices, with the thread that serves them."""
    planned = planned_devices()
    buses = Buses(planned, HostClock(), Inputs(), failures.append)
    items = {0: fwcfg.of(b"QEMU"), 1: fwcfg.of(bytes(100))}
    behind = {"fw-cfg": lambda: items, "flash": lambda: FlashFile(BLOCK)}
    board = Board(tmp_path, (Slot(0, 0, 128 << 20, 0),))
    memory = GuestMemory((Slot(0, 0, RAM, 0),))
    memory.write(0, random.Random(RAM).randbytes(RAM))
    for index, device in enumerate(planned):
        made = (
            make(device, board._replace(backend=behind.get(device.kind, board.backend)))
            if device.kind in KINDS
            else Registers(device.regions)
        )
        buses.devices.append(made)
        made.attach(Services(
            bus=buses.end_of(index), irq=Line(), msi=Line, memory=memory, output=len, clock=HostClock(),
            end=lambda kind, status: None, after=lambda delay, index=index: buses.after(index, delay),
            virtqueue=partial(Queue, memory, Requests(), 0), configuration=ConfigurationSpace(buses),
        ))  # fmt: skip
    done = threading.Event()

    def serve():
        while not done.is_set():
            buses.deliver()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield planned, buses
    finally:
        done.set()
        buses.wake()
        thread.join()
        buses.flush()
        buses.close()
        memory.close()


@pytest.mark.long
@pytest.mark.parametrize(
    "exits", [pytest.param(10_000, id="few"), pytest.param(1_000_000, marks=pytest.mark.soak, id="million")]
)
def test_fuzzed_exits_over_all_devices(make_loop, tmp_path, grown, exits):
    failures = []
    chance = random.Random(exits)
    rings = Rings(1, 64, "wait", None)
    rings.start(1_000_000)
    with machine(tmp_path, failures) as (planned, buses):
        loop = make_loop(buses.bus, rings.ring(0))
        claims = [claim for device in planned for claim in placed(device) if claim.space != "pci"]
        serials = [index for index, device in enumerate(planned) if device.kind == "serial"]
        for _ in range(exits):
            claim = chance.choice(claims)
            address = claim.start + chance.randrange(-8, claim.size + 8)
            write = chance.random() < 0.5
            if claim.space == "mmio":
                size = chance.randint(1, 8)
                access = loop.mmio(address, chance.choice((chance.randbytes(size), bytes(size))), write)
            else:
                size = chance.choice((1, 1, 2, 4))
                count = chance.choice((1, 1, 1, 1, 1, 1, 1, 3, 4096 // size))
                fill = bytes((chance.choice(TELLING),)) if chance.random() < 0.5 else chance.randbytes(size)
                access = loop.io(address & 0xFFFF, size, (fill * size)[:size] * count, write)
            while access:
                buses.answer(access)
                access = loop.go_on()
            if chance.random() < 0.02:
                index = chance.choice(serials)
                buses.receive(index, chance.randbytes(min(buses.room(index, int), chance.choice((1, 20, HOST_BUFFER)))))
    rings.close()
    assert [str(failure) for failure in failures] == []
    assert grown() < LIMIT


IO = "e4 e5 e6 e7 ec ed ee ef 6c 6d 6e 6f f36e f36c 66ba f4 fb fa 0fa2 0f30 0f32"
CHIPS = ("i8259", "i8254", "tsc")  # of virtual time
NOISY = [{"kind": "serial", "input": "input"}]
NOISY += [{"kind": kind} for kind in KINDS if kind not in ("serial", "acpi", "vmgenid", *NEEDED, *CHIPS)]
VIRTUAL = [{"kind": "serial", "input": "none"}, {"kind": "rtc", "time": datetime(2026, 1, 1, tzinfo=UTC)}]
VIRTUAL += [{"kind": kind} for kind in ("i8042", "debug-port", "post-port", "debug-exit", "pvpanic", *CHIPS)]
NOISY += [{"kind": "virtio-blk", "path": "disk"}, {"kind": "flash", "path": "flash"}]


@pytest.mark.kvm
@pytest.mark.parametrize("guests", [pytest.param(10, id="few"), pytest.param(300, marks=pytest.mark.soak, id="many")])
def test_guests_of_noise(run_guest, tmp_path, grown, guests):
    """Random code, with instructions of I/O strewn in, in all modes."""
    chance = random.Random(guests)
    (tmp_path / "input").write_bytes(bytes(range(256)) * 16)
    (tmp_path / "disk").write_bytes(bytes(1 << 16))
    (tmp_path / "flash").write_bytes(bytes(1 << 16))
    io = [bytes.fromhex(code) for code in IO.split()]
    for number in range(guests):
        code = b"".join(
            chance.choice(io) if chance.random() < 0.3 else chance.randbytes(1) for _ in range(chance.randint(1, 400))
        )
        mode = chance.choice(("real", "protected", "long"))
        vm = {"memory": "4MiB", "timeout": "100ms", "vcpus": chance.choice((1, 1, 2))}
        devices = NOISY
        if chance.random() < 0.3:
            vm |= {"time": "virtual", "vcpus": 1}
            devices = VIRTUAL
        elif chance.random() < 0.5:
            vm |= {"irqchip": "kernel", "pit": False}
        result = run_guest(
            code,
            devices=devices,
            vm=vm,
            boot={"mode": mode},
            trace=None if number % 4 else {},
            input=None,
        )
        assert result.kind == "debug-exit" or result.status in STATUSES, (code.hex(), mode, result)
        assert result.kind not in ("device-error", "trace-failed", "interrupted"), (code.hex(), mode, result)
        assert "Traceback" not in result.detail + result.report
    assert grown() < LIMIT

from pathlib import Path

from vmspec.devices.isa import RTC, PostPort, Python, Serial
from vmspec.devices.regions import Region
from vmspec.plan import calls
from vmspec.plan.calls import Slot
from vmspec.plan.plan import E820, Area, Entry, Placement, Plan, PlannedDevice
from vmspec.plan.resources import options
from vmspec.plan.settings import PlannedCPU, PlannedVM
from vmspec.show import render

SLOT = Slot(0, 0, 128 << 20, 0)
MODELS = (Serial(input="none"), RTC(), PostPort(), Python("m:C", mmio=(0xD0000000, 4096)))
PLAN = Plan(
    vm=PlannedVM("demo", 128 << 20, 1),
    cpu=PlannedCPU(disable=("avx512f", "hle"), vendor="GenuineIntel"),
    overrides=("vm.name=demo",),
    image="bzimage",
    protocol="linux64",
    cmdline="console=ttyS0 " + "abcdefghi=1 " * 8 + "last",
    modules=(),
    slots=(SLOT,),
    taken=(),
    areas=(
        Area("ram", "ram", 0, 128 << 20),
        Area("unassigned", "hole", 128 << 20, 0xD0000000 - (128 << 20)),
        Area("python0", "mmio", 0xD0000000, 4096),
    ),
    e820=(E820(0, 0x9FC00, 1), E820(0x9FC00, 0x400, 2)),
    placements=(
        Placement("kernel", 0x1000000, 5000, Path("/boot/vmlinuz"), 0x4000, 77),
        Placement("cmdline", 0x20000, 100),
    ),
    devices=tuple(
        PlannedDevice(name, name[:-1], options(model), model.regions(), model.irq)
        for name, model in zip(("serial0", "rtc0", "post-port0", "python0"), MODELS, strict=True)
    ),
    entry=Entry("long", 0x1000200, {"rsi": 0x7000}),
    irqchip=True,
    pit=True,
    calls=(
        calls.Open(),
        calls.CreateIrqchip(),
        calls.SetTssAddr(0xFEFFD000),
        calls.SetIdentityMapAddr(0xFEFFC000),
        calls.SetUserMemoryRegion(SLOT),
        calls.SetUserMemoryRegion(Slot(1, 1 << 32, 1 << 40, 128 << 20)),
        calls.CreateVcpu(0),
        calls.Run(0),
    ),
    notes=("the kernel unpacks itself",),
)

TEXT = """\
Machine
  name           demo
  image          bzimage: Linux, 64-bit boot protocol
  memory         128MiB
  vCPUs          1
  in the kernel  interrupt controllers, timer (PIT)
  time           the host's
  recorded in    nothing (to record: trace.path, or vmrun --trace FILE)

Guest-physical map
  0x0000000000-0x0007ffffff   128MiB  ram   ram
  0x0008000000-0x00cfffffff  3200MiB  hole  unassigned
  0x00d0000000-0x00d0000fff     4KiB  mmio  python0

Memory map for the guest (e820)
  0x0000000000-0x000009fbff  639KiB  usable
  0x000009fc00-0x000009ffff    1KiB  reserved

Placements
  0x0000020000-0x0000020063   100            cmdline
  0x0001000000-0x0001001387  5000  +77 zero  kernel   file 1 from 0x4000

Files
  1  /boot/vmlinuz

Devices
  0  serial0     port 0x3f8-0x3ff            IRQ 4, GSI 4
  1  rtc0        port 0x70-0x71              IRQ 8, GSI 8
  2  post-port0  port 0x80
  3  python0     mmio 0xd0000000-0xd0000fff

Command line
  console=ttyS0 abcdefghi=1 abcdefghi=1 abcdefghi=1 abcdefghi=1 abcdefghi=1 abcdefghi=1 abcdefghi=1
  abcdefghi=1 last

CPUID
  host: what KVM supports on the host, as GenuineIntel, less avx512f, hle

Entry
  mode  long
  rip   0x1000200
  rsi   0x7000

KVM calls
  1  open
  2  KVM_CREATE_IRQCHIP                                             needs KVM_CAP_IRQCHIP
  3  KVM_SET_TSS_ADDR            0xfeffd000                         if KVM_CAP_SET_TSS_ADDR
  4  KVM_SET_IDENTITY_MAP_ADDR   0xfeffc000                         if KVM_CAP_SET_IDENTITY_MAP_ADDR
  5  KVM_SET_USER_MEMORY_REGION  slot 0: 0x0-0x7ffffff              needs KVM_CAP_USER_MEMORY
  6  KVM_SET_USER_MEMORY_REGION  slot 1: 0x100000000-0x100ffffffff  needs KVM_CAP_USER_MEMORY
  7  KVM_CREATE_VCPU             vCPU 0, 0x0
  8  KVM_RUN                     vCPU 0                             needs KVM_CAP_IMMEDIATE_EXIT

Notes
  the kernel unpacks itself
"""


def test_the_plan_as_text():
    assert render.text(PLAN) == TEXT


def test_no_line_is_wider_than_100_columns():
    assert max(map(len, render.text(PLAN).splitlines())) <= 100


def test_an_interrupt_without_a_controller_is_said():
    assert "IRQ 4, not connected" in render.text(PLAN._replace(irqchip=False))


def test_a_pci_function_is_shown_by_its_number_and_its_place_at_power_on():
    regions = (Region("registers", "mmio", 0x8000), Region("configuration", "pci", 256, 3 << 15))
    device = PlannedDevice("virtio-rng0", "virtio-rng", {}, regions, 10, "pci", (0xE0008000,))
    text = render.text(PLAN._replace(devices=(device,)))
    assert "0  virtio-rng0  BAR mmio 0xe0008000-0xe000ffff, pci 00:03.0  IRQ 10, GSI 10" in text

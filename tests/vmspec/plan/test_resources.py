"""Devices on the buses: which of two claims is reported, what it says, and the edges of the buses."""

import pytest

from vmspec.devices.isa import I8042, RTC, DebugExit, Python, Serial
from vmspec.devices.models import Device
from vmspec.plan.memory_map import slots
from vmspec.plan.resources import devices, plain, taken
from vmspec.schema.problems import Problem
from vmspec.spec.models import VM, Boot, Spec

MIB = 1 << 20


def python(**where: object) -> Python:
    return Python(cls="module:Class", **where)


def problems(*models: Device, irqchip: bool = False, pit: bool = False) -> list[str]:
    found: list[Problem] = []
    spec = Spec(vm=VM(name="m", memory=MIB), boot=Boot(code=b"\xf4", mode="real"), devices=models)
    planned = devices(spec, slots(MIB), irqchip, pit, found)
    assert len(planned) == len(models)
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (
            (Serial(), Serial()),
            [
                "device[1].com: serial1 claims IRQ 4, which serial0 has (IRQ 4)",
                "device[1].com: serial1 claims ports 0x3f8-0x3ff, which serial0 has (ports 0x3f8-0x3ff)",
            ],
        ),
        (
            (python(port=(0xF7, 1)), DebugExit()),
            ["device[1].port: debug-exit0 claims ports 0xf4-0xf7, which python0 has (port 0xf7)"],
        ),
        (
            (python(port=(0x100, 1), irq=8), RTC()),
            ["device[1]: rtc0 claims IRQ 8, which python0 has (IRQ 8)"],
        ),
        (
            (python(mmio=(MIB - 1, 4)),),
            ["device[0].mmio: python0 claims addresses 0xfffff-0x100002, which RAM has (addresses 0x0-0xfffff)"],
        ),
        (
            (python(mmio=(MIB, 8)), python(mmio=(MIB + 4, 8))),
            [
                "device[1].mmio: python1 claims addresses 0x100004-0x10000b, "
                "which python0 has (addresses 0x100000-0x100007)"
            ],
        ),
    ],
)
def test_the_later_device_is_reported_with_both_claims(models: tuple[Device, ...], expected: list[str]) -> None:
    assert sorted(problems(*models)) == expected


def test_each_claim_that_begins_in_a_long_one_is_reported() -> None:
    """The long one reaches over the short one, and the next one that begins behind the short one."""
    long, short, last = python(port=(0x100, 16)), python(port=(0x102, 1)), python(port=(0x10F, 1))
    assert problems(long, short, last) == [
        "device[1].port: python1 claims port 0x102, which python0 has (ports 0x100-0x10f)",
        "device[2].port: python2 claims port 0x10f, which python0 has (ports 0x100-0x10f)",
    ]


def test_a_claim_that_reaches_further_takes_the_place_of_the_first() -> None:
    assert problems(python(port=(0x100, 4)), python(port=(0x103, 8)), python(port=(0x108, 1))) == [
        "device[1].port: python1 claims ports 0x103-0x10a, which python0 has (ports 0x100-0x103)",
        "device[2].port: python2 claims port 0x108, which python1 has (ports 0x103-0x10a)",
    ]


def test_a_range_may_begin_where_another_ends() -> None:
    assert problems(python(port=(0x100, 4)), python(port=(0x104, 4)), python(mmio=(MIB, 1)), irqchip=True) == []


def test_the_eleventh_device_comes_later_than_the_third() -> None:
    models = [python(port=(0x100 + 16 * at, 1)) for at in range(11)]
    models[2] = python(port=(0x800, 4))
    models[10] = python(port=(0x7FF, 2))
    assert [problem.split(":")[0] for problem in problems(*models)] == ["device[10].port"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"port": (0xFFFF, 1)}, []),
        (
            {"port": (0xFFFF, 2)},
            [
                "device[0].port: not a range of port addresses (here: [0xffff, 0x2]); "
                "allowed: [start, size] below 0x10000"
            ],
        ),
        ({"port": (0, 1)}, []),
        (
            {"port": (-1, 2)},
            ["device[0].port: not a range of port addresses (here: [-0x1, 0x2]); allowed: [start, size] below 0x10000"],
        ),
        (
            {"port": (5, 0)},
            ["device[0].port: not a range of port addresses (here: [0x5, 0x0]); allowed: [start, size] below 0x10000"],
        ),
        ({"port": (0x100, 1), "irq": 23}, []),
        ({"port": (0x100, 1), "irq": 0}, []),
        ({"port": (0x100, 1), "irq": 24}, ["device[0].irq: no such interrupt (here: 24); allowed: 0 to 23"]),
        ({"port": (0x100, 1), "irq": -1}, ["device[0].irq: no such interrupt (here: -1); allowed: 0 to 23"]),
    ],
)
def test_the_edges_of_the_buses(where: dict[str, object], expected: list[str]) -> None:
    assert problems(python(**where)) == expected


def test_a_claim_outside_its_bus_collides_with_nothing() -> None:
    assert len(problems(python(port=(0xFFFF, 2)), python(port=(0xFFFF, 1)))) == 1


@pytest.mark.parametrize(
    ("where", "owner"),
    [
        ({"port": (0x21, 1)}, "the interrupt controller has (ports 0x20-0x21)"),
        ({"port": (0xA1, 1)}, "the interrupt controller has (ports 0xa0-0xa1)"),
        ({"port": (0x4D1, 1)}, "the interrupt controller has (ports 0x4d0-0x4d1)"),
        ({"port": (0x43, 1)}, "the timer (PIT) has (ports 0x40-0x43)"),
        ({"port": (0x61, 1)}, "the timer (PIT) has (port 0x61)"),
        ({"port": (0x100, 1), "irq": 0}, "the timer (PIT) has (IRQ 0)"),
        ({"port": (0x100, 1), "irq": 2}, "the interrupt controller's cascade has (IRQ 2)"),
        ({"mmio": (0xFEC00FFF, 1)}, "ioapic has (addresses 0xfec00000-0xfec00fff)"),
        ({"mmio": (0xFEE00FFF, 1)}, "lapic has (addresses 0xfee00000-0xfee00fff)"),
        ({"mmio": (0xFEFFC000, 1)}, "kvm-identity-map has (addresses 0xfeffc000-0xfeffcfff)"),
        ({"mmio": (0xFEFFFFFF, 1)}, "kvm-tss has (addresses 0xfeffd000-0xfeffffff)"),
    ],
)
def test_the_machines_own_claims(where: dict[str, object], owner: str) -> None:
    assert [problem.partition("which ")[2] for problem in problems(python(**where), irqchip=True, pit=True)] == [owner]


def test_a_device_that_begins_before_the_machines_own_range_is_the_one_reported() -> None:
    assert problems(python(port=(0x1F, 2)), irqchip=True) == [
        "device[0].port: python0 claims ports 0x1f-0x20, which the interrupt controller has (ports 0x20-0x21)"
    ]


def test_what_kvm_does_not_have_is_free() -> None:
    free = [python(port=(0x20, 2), irq=2), python(port=(0x40, 4), irq=0), python(mmio=(0xFEC00000, 4096))]
    assert problems(*free) == []
    assert [region.name for region in taken(slots(MIB), False, False)] == ["RAM", "kvm-identity-map", "kvm-tss"]


def test_a_kind_that_ends_in_a_digit_is_kept_apart_from_the_number() -> None:
    models = (Serial(), I8042(), RTC())
    spec = Spec(vm=VM(name="m"), boot=Boot(code=b"\xf4", mode="real"), devices=models)
    assert [device.name for device in devices(spec, slots(MIB), True, True, [])] == ["serial0", "i8042-0", "rtc0"]


def test_values_have_lists_for_tuples_all_the_way_down() -> None:
    assert plain((1, ("a", (2,)))) == [1, ["a", [2]]]

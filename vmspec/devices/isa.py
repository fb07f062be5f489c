"""The models of devices at fixed ports, and of a user's own device."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from attrs import field, frozen

from vmspec import layout
from vmspec.devices.device import ADDRESSES, PORTS, DeviceModel
from vmspec.devices.regions import Region
from vmspec.registers import debug, fwcfg, i8042, i8254, i8259, pci, pvpanic, q35, rtc, serial, tsc, vmgenid
from vmspec.schema.guest_values import ClassName, Hexadecimal, Options, Windows
from vmspec.schema.keypath import KeyPath
from vmspec.schema.value import key
from vmspec.schema.values import Address, Choice, Duration, File, Integer, Moment, Span


@frozen(eq=False, repr=False)
class Serial(DeviceModel):
    """A 16550A UART at a PC's COM port."""

    com: int = field(default=1, metadata=key(Choice(*serial.COMS), "which COM port: 1 to 4"))
    input: str | Path = field(
        default="stdin", metadata=key(File("stdin", "none"), "where the bytes that the guest receives come from")
    )
    output: str | Path = field(
        default="stdout", metadata=key(File("stdout", "none"), "where the bytes that the guest sends go")
    )

    @property
    def irq(self) -> int | None:
        return serial.COMS[self.com][1]

    def regions(self) -> tuple[Region, ...]:
        return (Region("registers", "port", serial.WIDTH, serial.COMS[self.com][0]),)


@frozen(eq=False, repr=False)
class I8042(DeviceModel):
    """The keyboard controller: the reset line, and answers to Linux's probe."""

    @property
    def irq(self) -> int | None:
        return i8042.IRQ

    def regions(self) -> tuple[Region, ...]:
        # Data, and command and status; 0x61 between them is the timer's.
        return Region("data", "port", 1, i8042.DATA_PORT), Region("command", "port", 1, i8042.COMMAND_PORT)


@frozen(eq=False, repr=False)
class I8259(DeviceModel):
    """The interrupt controllers of a machine with virtual time, which has them in any case."""

    @property
    def irq(self) -> int | None:
        return i8259.CASCADE

    def regions(self) -> tuple[Region, ...]:
        return (
            Region("master", "port", 2, i8259.MASTER_PORT),
            Region("slave", "port", 2, i8259.SLAVE_PORT),
            Region("edge-level", "port", 2, i8259.EDGE_LEVEL_PORT),
        )


@frozen(eq=False, repr=False)
class I8254(DeviceModel):
    """The timer of a machine with virtual time, which has it in any case."""

    @property
    def irq(self) -> int | None:
        return i8254.IRQ

    def regions(self) -> tuple[Region, ...]:
        return Region("counters", "port", 4, i8254.PORT), Region("speaker", "port", 1, i8254.SPEAKER_PORT)


@frozen(eq=False, repr=False)
class TSC(DeviceModel):
    """Virtual time in the place of the processor's TSC: Linux's RDTSC instructions are replaced by reads of a port."""

    port: int = field(default=tsc.PORT, metadata=key(Address(tsc.PORTS - 1), "the port"))
    step: int | None = field(default=None, metadata=key(Duration(), "how long a read takes on average; not given: 1us"))

    def regions(self) -> tuple[Region, ...]:
        return (Region("counter", "port", 1, self.port),)


@frozen(eq=False, repr=False)
class RTC(DeviceModel):
    """An MC146818 clock with its CMOS memory."""

    # A two-digit year: Linux reads 70 to 99 as 1970 to 1999.
    time: datetime | None = field(
        default=None,
        metadata=key(
            Moment(datetime(1970, 1, 1, tzinfo=UTC), datetime(2069, 12, 31, 23, 59, 59, tzinfo=UTC)),
            "the time at the start, UTC; not given: the host's time",
        ),
    )

    @property
    def irq(self) -> int | None:
        return rtc.IRQ

    def regions(self) -> tuple[Region, ...]:
        return (Region("registers", "port", 2, rtc.INDEX_PORT),)


@frozen(eq=False, repr=False)
class ACPI(DeviceModel):
    """ACPI's fixed registers (power off, reset) and the ACPI tables."""

    @property
    def irq(self) -> int | None:
        return layout.SCI

    def regions(self) -> tuple[Region, ...]:
        return (Region("registers", "port", layout.ACPI_PORTS_SIZE, layout.ACPI_PORTS),)


@frozen(eq=False, repr=False)
class DebugPort(DeviceModel):
    """Bochs' debug port: each byte written is console text."""

    port: int = field(default=debug.DEBUG_PORT, metadata=key(Address(PORTS - 1), "the port"))
    output: str | Path = field(default="stdout", metadata=key(File("stdout", "none"), "where the text goes"))

    def regions(self) -> tuple[Region, ...]:
        return (Region("port", "port", 1, self.port),)


@frozen(eq=False, repr=False)
class PostPort(DeviceModel):
    """Port 0x80: power-on self-test codes, which the trace records and the device ignores."""

    def regions(self) -> tuple[Region, ...]:
        return (Region("port", "port", 1, debug.POST_PORT),)


@frozen(eq=False, repr=False)
class DebugExit(DeviceModel):
    """QEMU's isa-debug-exit: a write of N ends the run with status (N << 1) | 1."""

    port: int = field(default=debug.EXIT_PORT, metadata=key(Address(PORTS - 1), "the first port"))
    size: int = field(default=4, metadata=key(Choice(1, 2, 4), "number of ports"))

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.port + self.size > PORTS:
            yield ("port",), f"the last of {self.size} ports is past 0xffff"

    def regions(self) -> tuple[Region, ...]:
        return (Region("port", "port", self.size, self.port),)


@frozen(eq=False, repr=False)
class Pvpanic(DeviceModel):
    """QEMU's pvpanic: the guest reports its own crash."""

    port: int = field(default=pvpanic.PORT, metadata=key(Address(PORTS - 1), "the port"))

    def regions(self) -> tuple[Region, ...]:
        return (Region("port", "port", 1, self.port),)


@frozen(eq=False, repr=False)
class Vmgenid(DeviceModel):
    """A generation ID: the guest is told when it goes on from a snapshot, and Linux then takes new random numbers."""

    generation: str = field(
        default="0" * 2 * vmgenid.SIZE,
        metadata=key(Hexadecimal(vmgenid.SIZE), "the ID at the start; each snapshot goes on with another one"),
    )

    def regions(self) -> tuple[Region, ...]:
        return (Region("generation", "mmio", vmgenid.SIZE),)


@frozen(eq=False, repr=False)
class FwCfg(DeviceModel):
    """QEMU's fw_cfg, from which firmware reads how its machine is made. A machine with firmware has one in any case."""

    def regions(self) -> tuple[Region, ...]:
        return Region("registers", "port", 2, fwcfg.SELECTOR_PORT), Region("dma", "port", 8, fwcfg.DMA_PORT)


@frozen(eq=False, repr=False)
class Python(DeviceModel):
    """A device class in Python, from a module beside the spec."""

    cls: str = field(metadata=key(ClassName(), "the class, as module:Class", name="class"))
    port: tuple[int, int] | None = field(
        default=None, metadata=key(Span(PORTS), "the ports that it occupies: first port, number of ports")
    )
    mmio: tuple[int, int] | None = field(
        default=None,
        metadata=key(Span(ADDRESSES), "the memory that it occupies: guest-physical address, number of bytes"),
    )
    windows: dict[str, dict[str, int]] = field(
        factory=dict,
        metadata=key(
            Windows(), "further regions, which the device maps while the guest runs: name, bus, size", name="regions"
        ),
    )
    irq: int | None = field(
        default=None, metadata=key(Integer(0, layout.IOAPIC_PINS - 1), "the interrupt line that it drives")
    )
    options: dict[str, object] = field(factory=dict, metadata=key(Options(), "keyword arguments of the class"))

    def regions(self) -> tuple[Region, ...]:
        named = (("port", self.port), ("mmio", self.mmio))
        fixed = [Region(name, name, span[1], span[0]) for name, span in named if span is not None]
        own = [Region(name, *window) for name, windows in self.windows.items() for window in windows.items()]
        return (*fixed, *own)

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.port is None and self.mmio is None and not self.windows:
            yield (), "one key is missing: port, mmio or regions"


@frozen(eq=False, repr=False)
class PCIHost(DeviceModel):
    """The PCI host bridge. A machine with a device on PCI or with UEFI firmware has one in any case."""

    chipset: str | None = field(
        default=None,
        metadata=key(
            Choice("none", "q35"),
            "what the guest finds it to be. none: a bridge to which no driver binds; q35: Intel's Q35, with its places "
            "and the LPC bridge. Not given: q35 with UEFI firmware, else none",
        ),
    )

    def regions(self) -> tuple[Region, ...]:
        ecam = Region("ecam", "mmio", layout.PCI_ECAM_SIZE, layout.PCI_ECAM)
        if self.chipset == "q35":
            ecam = Region("ecam", "mmio", layout.Q35_ECAM_SIZE, layout.Q35_ECAM)
        return (
            Region("address", "port", pci.PORTS, pci.ADDRESS_PORT),
            Region("data", "port", pci.PORTS, pci.DATA_PORT),
            ecam,
            Region("configuration", "pci", pci.CONFIGURATION_SIZE, 0),
        )


@frozen(eq=False, repr=False)
class LPC(DeviceModel):
    """The LPC bridge of the chipset Q35, with ACPI's timer. A machine with this chipset has one in any case."""

    def regions(self) -> tuple[Region, ...]:
        return (
            Region("configuration", "pci", pci.CONFIGURATION_SIZE, q35.LPC_DEVICE << pci.DEVICE),
            Region("timer", "port", q35.TIMER_SIZE, layout.PM_TIMER),
        )


Device = (
    Serial
    | I8042
    | I8259
    | I8254
    | TSC
    | RTC
    | ACPI
    | DebugPort
    | PostPort
    | DebugExit
    | Pvpanic
    | Vmgenid
    | FwCfg
    | PCIHost
    | LPC
    | Python
)

KINDS: dict[str, type[Device]] = {
    "serial": Serial,
    "i8042": I8042,
    "i8259": I8259,
    "i8254": I8254,
    "tsc": TSC,
    "rtc": RTC,
    "acpi": ACPI,
    "debug-port": DebugPort,
    "post-port": PostPort,
    "debug-exit": DebugExit,
    "pvpanic": Pvpanic,
    "vmgenid": Vmgenid,
    "fw-cfg": FwCfg,
    "pci-host": PCIHost,
    "lpc": LPC,
    "python": Python,
}

"""PCI configuration space, and the structures in the base address register of vmrun's virtio functions.

The header: PCI Local Bus 3.0, 6.1 and 6.2. MSI-X: 6.8.2. Virtio: virtio 1.2, 4.1.4.
"""

from collections.abc import Mapping

from tracer.decode.register import Bit, Bits, Field, Register
from vmspec import layout
from vmspec.registers import pci, q35, virtiopci

_COMMAND = (  # 6.2.2
    Bit(pci.IO_SPACE, "I/O"),
    Bit(pci.MEMORY_SPACE, "memory"),
    Bit(pci.BUS_MASTER, "bus master"),
    Bit(0x0008, "special cycles"),
    Bit(0x0010, "memory write and invalidate"),
    Bit(0x0020, "VGA snoop"),
    Bit(0x0040, "parity"),
    Bit(0x0100, "SERR"),
    Bit(0x0200, "fast back-to-back"),
    Bit(pci.INTX_OFF, "INTx off"),
)
_STATUS = (  # 6.2.3
    Bit(pci.INTERRUPT_STATUS, "interrupt"),
    Bit(pci.CAPABILITIES_LIST, "capabilities"),
    Bit(0x0020, "66 MHz"),
    Bit(0x0080, "fast back-to-back"),
    Bit(0x0100, "data parity error"),
    Field(0x0600, "DEVSEL", {0: "", 1: "DEVSEL medium", 2: "DEVSEL slow"}),
    Bit(0x0800, "target abort signalled"),
    Bit(0x1000, "target abort"),
    Bit(0x2000, "master abort"),
    Bit(0x4000, "SERR"),
    Bit(0x8000, "parity error"),
)
_MSIX_CONTROL = (
    Field(0x07FF, "last vector"),
    Bit(pci.MSIX_MASK, "masked"),
    Bit(pci.MSIX_ENABLE, "enabled"),
)
# Of a function, by offset; the MSI-X capability is where vmrun's functions have it.
HEADER: Mapping[int, Register] = {
    pci.VENDOR_ID: Register("vendor ID", size=2),
    pci.DEVICE_ID: Register("device ID", size=2),
    pci.COMMAND: Register("command", size=2, bits=_COMMAND),
    pci.STATUS: Register("status", size=2, bits=_STATUS),
    pci.REVISION_ID: Register("revision ID"),
    **{pci.CLASS_CODE + at: Register("class code") for at in range(3)},
    0x0C: Register("cache line size"),
    0x0D: Register("latency timer"),
    pci.HEADER_TYPE: Register("header type", bits=(Bit(0x80, "several functions"), Field(0x7F, "type"))),
    0x0F: Register("BIST"),
    **{pci.BAR + 4 * index: Register(f"BAR{index}", size=4) for index in range(pci.BARS)},
    pci.SUBSYSTEM_VENDOR_ID: Register("subsystem vendor ID", size=2),
    pci.SUBSYSTEM_ID: Register("subsystem ID", size=2),
    0x30: Register("expansion ROM", size=4),
    pci.CAPABILITIES: Register("capabilities"),
    pci.INTERRUPT_LINE: Register("interrupt line"),
    pci.INTERRUPT_PIN: Register("interrupt pin", bits=(Field(0xFF, "pin", {0: "none", 1: "INTA"}),)),
    pci.MSIX_AT: Register("MSI-X capability", size=2),
    pci.MSIX_AT + pci.MSIX_CONTROL: Register("MSI-X control", size=2, bits=_MSIX_CONTROL),
    pci.MSIX_AT + pci.MSIX_TABLE: Register("MSI-X table", size=4),
    pci.MSIX_AT + pci.MSIX_PENDING: Register("MSI-X pending bits", size=4),
}
# Registers of the chipset Q35, by function: the device number of the host bridge and of the LPC bridge.
CHIPSET: Mapping[int, Mapping[int, Register]] = {
    0: {
        q35.PCIEXBAR: Register("PCIEXBAR", size=4, bits=(Bit(q35.PCIEXBAR_ENABLE, "on"),)),
        q35.PCIEXBAR + 4: Register("PCIEXBAR, high", size=4),
        **{q35.PAM + number: Register(f"PAM{number}") for number in range(q35.PAMS)},
    },
    q35.LPC_DEVICE: {
        q35.PMBASE: Register("PMBASE", size=4, bits=(Bit(q35.PMBASE_IO, "ports"),)),
        q35.ACPI_CNTL: Register("ACPI_CNTL", bits=(Bit(q35.ACPI_EN, "on"),)),
        **{
            first + number: Register(f"PIRQ{letters[number]}", bits=(Field(0x0F, "IRQ"), Bit(q35.PIRQ_OFF, "off")))
            for first, letters in ((q35.PIRQ, "ABCD"), (q35.PIRQ2, "EFGH"))
            for number in range(q35.PIRQS)
        },
        q35.RCBA: Register("RCBA", size=4, bits=(Bit(1, "on"),)),
    },
}


def function(address: int) -> str:
    """Bus, device and function of an address in configuration space: "00:01.0"."""
    bus, device, number = address >> pci.BUS & 0xFF, address >> pci.DEVICE & 0x1F, address >> pci.FUNCTION & 7
    return f"{bus:02x}:{device:02x}.{number}"


def configuration(address: int) -> Register:
    """The register at an address in configuration space, with its function in the name."""
    offset = address & (1 << pci.FUNCTION) - 1
    own = CHIPSET.get(address >> pci.DEVICE, {})
    register = own.get(offset) or HEADER.get(offset, Register(f"+{offset:#04x}", size=0))
    return register._replace(name=f"{function(address)} {register.name}")


def selected(value: int) -> int:
    """The address in configuration space that the address register of mechanism 1 selects (3.2.2.3.2)."""
    return (value >> 16 & 0xFF) << pci.BUS | (value >> 8 & 0xFF) << pci.FUNCTION | value & 0xFC


def config_address(value: int, direction: str = "") -> str:
    """The meaning of the address register: bus:device.function and the register's offset."""
    return f"{function(selected(value))}+{value & 0xFC:02x}" + ("" if value & pci.ENABLE else ", disabled")


# Virtio


def _vector(value: int, direction: str) -> str:
    return "no vector" if value == virtiopci.NO_VECTOR else f"vector {value}"


def _names(status: Bits) -> Mapping[int, Register]:
    v = virtiopci
    names = {
        v.DEVICE_FEATURE_SELECT: "device_feature_select",
        v.DEVICE_FEATURE: "device_feature",
        v.DRIVER_FEATURE_SELECT: "driver_feature_select",
        v.DRIVER_FEATURE: "driver_feature",
        v.CONFIG_MSIX_VECTOR: "config_msix_vector",
        v.NUM_QUEUES: "num_queues",
        v.DEVICE_STATUS: "device_status",
        v.CONFIG_GENERATION: "config_generation",
        v.QUEUE_SELECT: "queue_select",
        v.QUEUE_SIZE: "queue_size",
        v.QUEUE_MSIX_VECTOR: "queue_msix_vector",
        v.QUEUE_ENABLE: "queue_enable",
        v.QUEUE_NOTIFY_OFF: "queue_notify_off",
        v.QUEUE_DESC: "queue_desc, low",
        v.QUEUE_DESC + 4: "queue_desc, high",
        v.QUEUE_DRIVER: "queue_driver, low",
        v.QUEUE_DRIVER + 4: "queue_driver, high",
        v.QUEUE_DEVICE: "queue_device, low",
        v.QUEUE_DEVICE + 4: "queue_device, high",
        v.QUEUE_NOTIFY_DATA: "queue_notify_data",
        v.QUEUE_RESET: "queue_reset",
    }
    registers = {at: Register(name, size=v.WIDTHS[at]) for at, name in names.items()}
    for at in (v.CONFIG_MSIX_VECTOR, v.QUEUE_MSIX_VECTOR):
        registers[at] = registers[at]._replace(meaning=_vector)
    registers[v.DEVICE_STATUS] = registers[v.DEVICE_STATUS]._replace(bits=status)
    return registers


_VECTOR = (
    Register("address", size=4),
    Register("address, high", size=4),
    Register("data", size=4),
    Register("control", size=4, bits=(Bit(pci.VECTOR_MASK, "masked"),)),
)


def is_virtio(address: int) -> bool:
    """Whether a virtio device that is accessed here is on PCI: its registers never lie where those of virtio-mmio
    do."""
    pages = len(layout.VIRTIO_IRQS) * layout.PAGE
    return not layout.VIRTIO_MMIO <= address < layout.VIRTIO_MMIO + pages


class Virtio:
    """The registers in the base address register of a virtio function. ``status`` and ``isr`` are the bits of the
    registers that both transports have."""

    def __init__(self, status: Bits, isr: Bits) -> None:
        self.common = _names(status)
        self.isr = Register("isr", bits=isr)
        self.notify = Register("notify", size=2, meaning=lambda value, direction: f"queue {value}")

    @staticmethod
    def field(address: int) -> int | None:
        """The offset in the device's configuration space, None if the address is not in it. The base address register
        lies at a multiple of its size."""
        offset = address % virtiopci.SIZE - virtiopci.CONFIG
        return offset if 0 <= offset < virtiopci.PAGE else None

    @staticmethod
    def queue(address: int) -> int | None:
        """The queue of a notification register, None if the address is another one's."""
        offset = address % virtiopci.SIZE - virtiopci.NOTIFY
        queue, rest = divmod(offset, virtiopci.NOTIFY_MULTIPLIER)
        return queue if 0 <= offset < virtiopci.PAGE and not rest else None

    def register(self, address: int) -> Register:
        """The register at an address that is not in the device's configuration space."""
        offset = address % virtiopci.SIZE
        structure, at = offset & -virtiopci.PAGE, offset & virtiopci.PAGE - 1
        match structure:
            case virtiopci.COMMON if at in self.common:
                return self.common[at]
            case virtiopci.ISR if at == 0:
                return self.isr
            case virtiopci.NOTIFY if at % virtiopci.NOTIFY_MULTIPLIER == 0:
                return self.notify
            case virtiopci.TABLE if at % 4 == 0:
                part = _VECTOR[at % pci.VECTOR_SIZE // 4]
                return part._replace(name=f"MSI-X vector {at // pci.VECTOR_SIZE} {part.name}")
            case virtiopci.PENDING if at % 4 == 0:
                return Register("MSI-X pending bits", size=8)
        return Register(f"+{offset:#x}")

"""The configuration spaces of virtio devices, by kind (virtio 1.2, "Device configuration layout" of each device)."""

from collections.abc import Mapping

from tracer.decode.register import Register, character
from vmspec.registers import virtio_console

CONFIGURATIONS: Mapping[str, Mapping[int, Register]] = {
    "virtio-console": {
        virtio_console.COLS: Register("cols", size=2),
        virtio_console.ROWS: Register("rows", size=2),
        virtio_console.MAX_NR_PORTS: Register("max_nr_ports", size=4),
        virtio_console.EMERG_WR: Register("emerg_wr", size=4, meaning=character),
    },
}


def field(kind: str, offset: int) -> Register:
    """The field of a device's configuration space; its offset if it has no name."""
    return CONFIGURATIONS.get(kind, {}).get(offset, Register(f"+{offset:#x}"))

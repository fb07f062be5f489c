"""The configuration spaces of virtio devices, by kind (virtio 1.2, "Device configuration layout" of each device)."""

from collections.abc import Mapping

from tracer.decode.register import Register, character
from vmspec.registers import virtio, virtio_balloon, virtio_console


def _fields(layout: Mapping[int, tuple[int, str]]) -> dict[int, Register]:
    """Fields by their offsets. Drivers read what is longer than 4 bytes in halves (4.2.2.2)."""
    whole = {offset: Register(name, size=size) for offset, (size, name) in layout.items()}
    return whole | {
        offset + 4: Register(f"{name} high", size=4) for offset, (size, name) in layout.items() if size == 8
    }


CONFIGURATIONS: Mapping[str, Mapping[int, Register]] = {
    "virtio-blk": _fields(virtio.BLK_CONFIG),
    "virtio-fs": {
        **{offset: Register(f"tag[{offset}]", size=1, meaning=character) for offset in range(virtio.TAG_BYTES)},
        virtio.FS_QUEUES: Register("num_request_queues", size=4),
    },
    "virtio-pmem": _fields(virtio.PMEM_CONFIG),
    "virtio-net": {
        **{offset: Register(f"mac[{offset}]", size=1) for offset in range(6)},
        **{offset: Register(name, size=size) for offset, (size, name) in virtio.NET_CONFIG.items()},
    },
    "virtio-balloon": {
        virtio_balloon.NUM_PAGES: Register("num_pages", size=4),
        virtio_balloon.ACTUAL: Register("actual", size=4),
    },
    "virtio-console": {
        virtio_console.COLS: Register("cols", size=2),
        virtio_console.ROWS: Register("rows", size=2),
        virtio_console.MAX_NR_PORTS: Register("max_nr_ports", size=4),
        virtio_console.EMERG_WR: Register("emerg_wr", size=4, meaning=character),
    },
    "virtio-vsock": {0: Register("guest_cid", size=8), 4: Register("guest_cid high", size=4)},
}


def field(kind: str, offset: int) -> Register:
    """The field of a device's configuration space; its offset if it has no name."""
    return CONFIGURATIONS.get(kind, {}).get(offset, Register(f"+{offset:#x}"))

"""Small kernel images, built field by field."""

import struct
import zlib

SETUP_SECTS = 4
SETUP_SIZE = (SETUP_SECTS + 1) * 512
PAYLOAD_AT = 0x2CC  # in the protected-mode part, where real kernels have it


def bzimage(payload: bytes = bytes(600), kernel: bytes | None = None, **fields: int) -> bytes:
    """A bzImage of protocol 2.15 with a 64-bit entry; ``fields`` replace the header's values by name."""
    body = kernel if kernel is not None else bytes(PAYLOAD_AT) + payload
    body += bytes(-len(body) % 16)
    values = {
        "setup_sects": SETUP_SECTS, "syssize": len(body) // 16, "boot_flag": 0xAA55, "jump": 0x6AEB,
        "magic": int.from_bytes(b"HdrS", "little"), "version": 0x020F, "kernel_version": 0, "loadflags": 1,
        "code32_start": 0x100000, "initrd_addr_max": 0x7FFFFFFF, "kernel_alignment": 0x200000,
        "relocatable": 1, "xloadflags": 1, "cmdline_size": 2047, "payload_offset": PAYLOAD_AT,
        "payload_length": len(payload), "pref_address": 0x1000000, "init_size": 0x800000,
    }  # fmt: skip
    places = {
        "setup_sects": (0x1F1, 1), "syssize": (0x1F4, 4), "boot_flag": (0x1FE, 2), "jump": (0x200, 2),
        "magic": (0x202, 4), "version": (0x206, 2), "kernel_version": (0x20E, 2),
        "loadflags": (0x211, 1), "code32_start": (0x214, 4),
        "initrd_addr_max": (0x22C, 4), "kernel_alignment": (0x230, 4), "relocatable": (0x234, 1),
        "xloadflags": (0x236, 2), "cmdline_size": (0x238, 4), "payload_offset": (0x248, 4),
        "payload_length": (0x24C, 4), "pref_address": (0x258, 8), "init_size": (0x260, 4),
    }  # fmt: skip
    head = bytearray(SETUP_SIZE)
    for name, value in {**values, **fields}.items():
        at, size = places[name]
        head[at : at + size] = value.to_bytes(size, "little")
    return bytes(head) + body


def elf(*segments: tuple[int, int, bytes, int], entry: int = 0x1000000, **fields: int) -> bytes:
    """An ELF64 executable for x86-64; a segment is (physical, virtual, bytes, size in memory)."""
    segments = segments or ((0x1000000, 0xFFFFFFFF81000000, b"\xf4" * 32, 0x2000),)
    values = {"class": 2, "data": 1, "type": 2, "machine": 62, "phentsize": 56, "phnum": len(segments), "phoff": 64}
    values |= fields
    ident = b"\x7fELF" + bytes([values["class"], values["data"], 1]) + bytes(9)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, values["type"], values["machine"], 1, entry, values["phoff"], 0, 0, 64,
        values["phentsize"], values["phnum"], 0, 0, 0,
    )  # fmt: skip
    at = 64 + 56 * len(segments)
    headers, data = b"", b""
    for physical, virtual, body, size in segments:
        headers += struct.pack("<IIQQQQQQ", 1, 7, at + len(data), virtual, physical, len(body), size, 0x1000)
        data += body
    return head + headers + data


def elf32(*segments: tuple[int, int, bytes, int], entry: int = 0x100000, machine: int = 3) -> bytes:
    """An ELF32 executable for i386; segments as for :func:`elf`."""
    segments = segments or ((0x100000, 0x100000, b"\xf4" * 32, 0x2000),)
    ident = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    head = struct.pack("<16sHHIIIIIHHHHHH", ident, 2, machine, 1, entry, 52, 0, 0, 52, 32, len(segments), 0, 0, 0)
    at = 52 + 32 * len(segments)
    headers, data = b"", b""
    for physical, virtual, body, size in segments:
        headers += struct.pack("<IIIIIIII", 1, at + len(data), virtual, physical, len(body), size, 7, 0x1000)
        data += body
    return head + headers + data


def noted(file: bytes, *notes: bytes) -> bytes:
    """An ELF file of this module with one segment, which becomes the first of two; the other has notes."""
    bits32 = file[4] == 1
    count, table, size = (44, 52, 32) if bits32 else (56, 64, 56)
    data = bytearray(file)
    data[count] = 2
    where = len(file) + size
    body = b"".join(notes)
    row = struct.pack("<IIIIIIII", 4, where, 0, 0, len(body), len(body), 4, 4)
    if not bits32:
        row = struct.pack("<IIQQQQQQ", 4, 4, where, 0, 0, len(body), len(body), 4)
    first = 4 if bits32 else 8  # the offset of the first segment's bytes, which move
    word = "<I" if bits32 else "<Q"
    at = struct.unpack_from(word, data, table + first)[0]
    struct.pack_into(word, data, table + first, at + size)
    return bytes(data[: table + size]) + row + bytes(data[table + size :]) + body


def xen(kind: int, value: bytes) -> bytes:
    """A note of Xen's."""
    return struct.pack("<III", 4, len(value), kind) + b"Xen\0" + value.ljust(-(-len(value) // 4) * 4, b"\0")


def gzipped(data: bytes) -> bytes:
    """A payload as the kernel's build makes it with gzip: the size is the format's own trailer."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def sized(packed: bytes, data: bytes) -> bytes:
    """A payload of any other format, with the unpacked size appended."""
    return packed + len(data).to_bytes(4, "little")


def program(machine: int, subsystem: int, sections: dict[str, bytes]) -> bytes:
    """A PE file: headers, and sections of these contents."""
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    head = head.ljust(0x80, b"\0") + b"PE\0\0" + struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, 112, 0x22)
    head += bytes(68) + struct.pack("<H", subsystem)
    head = head.ljust(0x80 + 24 + 112, b"\0")
    at = len(head) + 40 * len(sections) + 64
    rows, data = b"", b""
    for name, content in sections.items():
        raw = content.ljust(-(-len(content) // 64) * 64, b"\0")  # as FileAlignment asks
        rows += struct.pack("<8sIIII16x", name.encode(), len(content), 0x1000, len(raw), at + len(data))
        data += raw
    return head + rows + bytes(64) + data


def uki(machine: int = 0x8664, **sections: bytes) -> bytes:
    """A unified kernel image; the sections are named without their dot."""
    return program(machine, 10, {".text": b"\xf4", **{f".{name}": content for name, content in sections.items()}})


def sectioned(file: bytes, *sections: tuple[int, int, int, int, int]) -> bytes:
    """An ELF file of this module with section headers after its end: type, flags, virtual address, offset, size."""
    rows = [(0, 0, 0, 0, 0), *sections]
    data = bytearray(file)
    struct.pack_into("<Q", data, 40, len(file))
    struct.pack_into("<HH", data, 58, 64, len(rows))
    return bytes(data) + b"".join(
        struct.pack("<IIQQQQIIQQ", 0, kind, flags, virtual, offset, size, 0, 0, 0, 0)
        for kind, flags, virtual, offset, size in rows
    )

"""Handmade tables as scripts/kallsyms.c writes them: small, but of every kind."""

import struct

BASE = 0xFFFFFFFF81000000
TOKENS = {0x80: "io_", 0x81: "serial_", 0xFF: "T"}


def aligned(data, pad=b"\0"):
    return data + pad * (-len(data) % 8)


def coded(name):
    """A name's codes, with the tokens where they fit."""
    for code, token in TOKENS.items():
        name = name.replace(token, chr(code))
    return name.encode("latin-1")


def tables(symbols, layout="6.12", percpu=True, base=BASE):
    """Kernel bytes with the tables of (address, type and name), which rise; addresses below the base are per-CPU."""
    names, markers = b"", []
    for index, (_, name) in enumerate(symbols):
        if index % 256 == 0:
            markers.append(len(names))
        code = coded(name)
        size = bytes([len(code)]) if len(code) < 128 else bytes([len(code) & 127 | 128, len(code) >> 7])
        names += size + code
    # A code that no name uses may have any token: here what its neighbour in a kernel's table might have.
    tokens = [TOKENS.get(code, chr(code) if 32 < code < 127 else f"tok{code}") for code in range(256)]
    table, index = b"", b""
    for token in tokens:
        index += struct.pack("<H", len(table))
        table += token.encode() + b"\0"
    offsets = b""
    for address, _ in symbols:
        offset = address - base if not percpu else address if address < base else base - 1 - address
        offsets += struct.pack("<i" if percpu else "<I", offset)
    sequences = b"".join(number.to_bytes(3, "little") for number in range(len(symbols)))
    placed = [aligned(offsets), struct.pack("<Q", base)]
    middle = [
        aligned(struct.pack("<I", len(symbols))),
        aligned(names),
        aligned(struct.pack(f"<{len(markers)}I", *markers)),
    ]
    ends = [aligned(table), aligned(index)]
    match layout:
        case "6.1":
            parts = [*placed, *middle, *ends]
        case "6.2":
            parts = [*placed, *middle, aligned(sequences), *ends]
        case _:
            parts = [*middle, *ends, *placed, aligned(sequences)]
    # Around them lies what might be taken for them: digits as UTF-16, as the kernel's character sets have them.
    noise = "".join(map(chr, range(1, 256))).encode("utf-16-le") + bytes(2)
    return aligned(noise) + b"".join(parts) + aligned(noise)

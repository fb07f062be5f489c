"""ACPI machine language: the part that a table of devices needs (ACPI 6.5, chapter 20; resources: 6.4)."""


def name(segment: str) -> bytes:
    """A NameSeg, padded with ``_``. It is defined and looked up in the enclosing scope."""
    code = segment.ljust(4, "_").encode("ascii")
    if len(code) != 4:
        raise ValueError(f"{segment!r} is not an ACPI name")
    return code


def integer(value: int) -> bytes:
    """The shortest constant for 0 to 2**64 - 1."""
    if value in (0, 1):
        return bytes([value])  # ZeroOp, OneOp
    for prefix, size in ((0x0A, 1), (0x0B, 2), (0x0C, 4), (0x0E, 8)):
        if value < 1 << 8 * size:
            return bytes([prefix]) + value.to_bytes(size, "little")
    raise ValueError(f"{value:#x} has more than 64 bits")


def eisa_id(text: str) -> bytes:
    """A PNP id such as "PNP0501" as its integer (ACPI 6.5, 19.3.4)."""
    letters, number = text[:3], int(text[3:], 16)
    packed = 0
    for letter in letters:
        packed = packed << 5 | ord(letter) - ord("@")
    return b"\x0c" + packed.to_bytes(2, "big") + number.to_bytes(2, "big")


def identifier(text: str) -> bytes:
    """The value of _HID: an integer for a PNP id, whose vendor has three letters, a string for an ACPI id (6.1.5)."""
    return eisa_id(text) if len(text) == 7 else string(text)


def string(text: str) -> bytes:
    """A string of ASCII."""
    return b"\x0d" + text.encode("ascii") + b"\0"


def package_length(size: int) -> bytes:
    """PkgLength before ``size`` bytes; it counts its own bytes too (ACPI 6.5, 20.2.4)."""
    if size + 1 < 1 << 6:
        return bytes([size + 1])
    for follow in (1, 2, 3):
        total = size + 1 + follow
        if total < 1 << 4 + 8 * follow:
            return bytes([follow << 6 | total & 0xF]) + (total >> 4).to_bytes(follow, "little")
    raise ValueError(f"a package of {size} bytes is too long")


def _packaged(operator: bytes, body: bytes) -> bytes:
    return operator + package_length(len(body)) + body


def named(segment: str, value: bytes) -> bytes:
    """``Name (segment, value)``."""
    return b"\x08" + name(segment) + value


def scope(segment: str, *terms: bytes) -> bytes:
    """``Scope (segment) { terms }``."""
    return _packaged(b"\x10", name(segment) + b"".join(terms))


def device(segment: str, *terms: bytes) -> bytes:
    """``Device (segment) { terms }``."""
    return _packaged(b"\x5b\x82", name(segment) + b"".join(terms))


def package(*elements: bytes) -> bytes:
    """``Package () { elements }``."""
    return _packaged(b"\x12", bytes([len(elements)]) + b"".join(elements))


def buffer(data: bytes) -> bytes:
    """``Buffer () { data }``."""
    return _packaged(b"\x11", integer(len(data)) + data)


def io(start: int, size: int) -> bytes:
    """Resource: fixed ports, 16 address bits decoded."""
    return b"\x47\x01" + start.to_bytes(2, "little") * 2 + bytes([1, size])


def irq(number: int) -> bytes:
    """Resource: an ISA interrupt, edge-triggered, active high."""
    return b"\x22" + (1 << number).to_bytes(2, "little")


def memory(start: int, size: int) -> bytes:
    """Resource: fixed memory with a 32-bit address, read and written (Memory32Fixed)."""
    return b"\x86\x09\x00\x01" + start.to_bytes(4, "little") + size.to_bytes(4, "little")


def interrupt(number: int) -> bytes:
    """Resource: a GSI of any number for a device that consumes it: edge-triggered, active high, exclusive (6.4.3.6)."""
    return b"\x89\x06\x00\x03\x01" + number.to_bytes(4, "little")


# Address ranges that a bus passes on to its devices (6.4.3.5): the kind of resource, and flags of that kind.
MEMORY, IO, BUS = 0, 1, 2
_KIND_FLAGS = {MEMORY: 0x01, IO: 0x03, BUS: 0}  # not cacheable, read and written; the entire range; none
_FIXED = 0x0C  # decoded positively, both ends are fixed


def window(kind: int, start: int, size: int, width: int = 2) -> bytes:
    """Resource: a range of a bus, by numbers of ``width`` bytes, 2 or 4 (WordBusNumber, WordIO, DWordMemory)."""
    numbers = b"".join(number.to_bytes(width, "little") for number in (0, start, start + size - 1, 0, size))
    head = bytes((kind, _FIXED, _KIND_FLAGS[kind]))
    return bytes([0x88 if width == 2 else 0x87]) + (len(head) + len(numbers)).to_bytes(2, "little") + head + numbers


def method_that_returns_its_argument(segment: str, arguments: int, which: int) -> bytes:
    """``Method (segment, arguments) { Return (Arg<which>) }``."""
    return _packaged(b"\x14", name(segment) + bytes((arguments, 0xA4, 0x68 + which)))


def method_that_notifies(segment: str, arguments: int, device: str, what: int) -> bytes:
    """``Method (segment, arguments, Serialized) { Notify (device, what) }``."""
    return _packaged(b"\x14", name(segment) + bytes((arguments | 8, 0x86)) + name(device) + integer(what))


def resources(*descriptors: bytes) -> bytes:
    """``ResourceTemplate () { descriptors }``; the end tag's checksum 0 means "no checksum"."""
    return buffer(b"".join(descriptors) + b"\x79\x00")

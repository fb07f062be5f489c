"""The headers of a bundle's archive: tar in the format pax (POSIX.1-2017, pax, "ustar Interchange Format").

A header depends only on a member's name and sizes, so the same files make the same bytes. A reader computes the header
that must come and compares it: it never parses one.
"""

import re

BLOCK = 512
OCTAL_MAX = 8**11  # sizes from here on do not fit into a header's field
NAME_MAX = 100
MODE = b"0000644\0"
END = bytes(2 * BLOCK)  # of the archive


def padding(size: int) -> int:
    """The zeros that follow a member of that size."""
    return -size % BLOCK


def header(name: bytes, size: int, length: int | None = None) -> bytes:
    """The header of a regular file, with an extended one before it if that is needed. ``length`` is given for a file
    with holes, whose ``size`` bytes in the archive are a map and data (GNU tar, "Storing Sparse Files", version 1.0).
    """
    records: dict[bytes, bytes] = {}
    path = name
    if length is not None:
        folder, slash, last = name.rpartition(b"/")
        path = folder + slash + b"GNUSparseFile.0/" + last
    if len(path) > NAME_MAX or not path.isascii():
        records[b"path"] = path
    if length is not None:
        records |= {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}
        records |= {b"GNU.sparse.name": name, b"GNU.sparse.realsize": b"%d" % length}
    if size >= OCTAL_MAX:
        records[b"size"] = b"%d" % size
    if any(not _is_utf8(value) for value in records.values()):
        records = {b"hdrcharset": b"BINARY", **records}
    body = b"".join(_record(key, value) for key, value in records.items())
    ascii_path = bytes(char if char < 0x80 else 0x3F for char in path[:NAME_MAX])
    extended = _ustar(b"././@PaxHeader", len(body), b"x") + body + bytes(padding(len(body))) if body else b""
    return extended + _ustar(ascii_path, size if size < OCTAL_MAX else 0, b"0")


def declared(block: bytes) -> int | None:
    """The size that a header's block gives, None if it gives none."""
    return int(block[124:135], 8) if re.fullmatch(rb"[0-7]{11}\0", block[124:136]) else None


def _ustar(name: bytes, size: int, kind: bytes) -> bytes:
    owner = b"0000000\0"
    times = b"%011o\0" % 0
    before = name.ljust(NAME_MAX, b"\0") + MODE + owner + owner + b"%011o\0" % size + times
    after = kind + bytes(100) + b"ustar\x0000" + bytes(64) + owner + owner + bytes(155)
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return (before + b"%06o\0 " % checksum + after).ljust(BLOCK, b"\0")


def _record(key: bytes, value: bytes) -> bytes:
    """``length key=value``: the length counts itself."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d" % length + rest


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True

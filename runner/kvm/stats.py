"""KVM's own counters, read from a binary statistics descriptor (api.rst, KVM_GET_STATS_FD)."""

import os
import struct

HEADER = struct.Struct("<6I")  # flags, name_size, num_desc, id_offset, desc_offset, data_offset
DESCRIPTOR = struct.Struct("<IhHII")  # flags, exponent, size, offset, bucket_size; then the name
TYPE_MASK = 0xF
TYPE_HISTOGRAMS = (3, 4)  # linear and logarithmic histograms are not counters


class Stats:
    """One statistics descriptor. The layout is read once, the values at each :meth:`read`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        _, name_size, count, _, at, self._data = HEADER.unpack(os.pread(fd, HEADER.size, 0))
        step = DESCRIPTOR.size + name_size
        table = os.pread(fd, step * count, at)
        self._fields: list[tuple[str, int]] = []
        self._size = 0
        for start in range(0, len(table) - step + 1, step):
            flags, _, size, offset, _ = DESCRIPTOR.unpack_from(table, start)
            self._size = max(self._size, offset + 8 * size)
            if flags & TYPE_MASK not in TYPE_HISTOGRAMS and size == 1:
                name = table[start + DESCRIPTOR.size : start + step].split(b"\0", 1)[0].decode()
                self._fields.append((name, offset))

    def read(self) -> dict[str, int]:
        """The counters by name."""
        data = os.pread(self.fd, self._size, self._data)
        return {name: struct.unpack_from("<Q", data, offset)[0] for name, offset in self._fields}

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

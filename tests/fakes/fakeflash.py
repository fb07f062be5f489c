"""The contents of a flash memory, without a file."""


class FlashFile:
    """See :class:`runner.devices.services.FlashImage`. ``error`` is raised instead of writing."""

    fd = -1

    def __init__(self, size: int) -> None:
        self.data = bytearray(b"\xff" * size)
        self.error: OSError | None = None

    def read(self, at: int, size: int) -> bytes:
        return bytes(self.data[at : at + size]).ljust(size, b"\0")

    def write(self, at: int, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.data[at : at + len(data)] = data

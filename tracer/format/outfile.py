"""The file interface that pyarrow needs for writing."""


class OutFile:
    """Base of write-only files. A subclass has ``write(data)``, which returns the bytes written, and ``tell()``, the
    bytes written in all."""

    closed = False

    def flush(self) -> None:
        """Nothing is buffered."""

    def readable(self) -> bool:
        """Write-only."""
        return False

    def writable(self) -> bool:
        """Write-only."""
        return True

    def seekable(self) -> bool:
        """The position only grows."""
        return False

    def close(self) -> None:
        """The caller that opened it closes it."""

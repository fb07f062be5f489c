"""What pyarrow asks of a file that is only written to."""


class OutFile:
    """Base of such files. A subclass has ``write(data)``, which returns the bytes written, and ``tell()``, the bytes
    written in all."""

    closed = False

    def flush(self) -> None:
        """Nothing is held back."""

    def readable(self) -> bool:
        """It is not read."""
        return False

    def writable(self) -> bool:
        """It is written."""
        return True

    def seekable(self) -> bool:
        """Its position only grows."""
        return False

    def close(self) -> None:
        """Whoever opened it closes it."""

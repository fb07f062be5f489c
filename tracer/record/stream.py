"""An Arrow stream that is being recorded: whole batches, also if writing fails."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tracer.format.sealing import SealedWriter


class StreamWriter:
    """Batches of ``schema``, appended to the file at ``path``, which is truncated first. Raises OSError and
    ``pyarrow.ArrowException``."""

    def __init__(self, path: Path, schema: Any) -> None:
        import pyarrow as pa

        self.path = path
        self._sink = pa.OSFile(os.fsencode(path), "wb")
        self._file: os.stat_result | None = None
        with suppress(FileNotFoundError):  # somebody has deleted it since, or its folder
            self._file = path.stat()
        self._writer = SealedWriter(self._sink, schema, pa.ipc.new_stream)

    def write(self, batch: Any, custom: dict[str, str] | None = None) -> None:
        """Append a batch, with custom metadata."""
        self._writer.write(batch, custom)

    def close(self) -> None:
        """End the stream."""
        self._writer.close()
        self._sink.close()

    def cut(self) -> None:
        """Close the file without its end and cut off a partly written batch, so that it stays readable."""
        with suppress(OSError):  # report the first error only
            self._sink.close()
        with suppress(OSError):  # a stream that ends within a batch can still be read up to there
            os.truncate(self.path, self._writer.written)

    @property
    def there(self) -> bool:
        """Whether the file is still where it was made: somebody may have deleted it, or its folder."""
        try:
            return self._file is not None and os.path.samestat(self._file, self.path.stat())
        except OSError:
            return False

    def batches(self) -> Iterator[Any]:
        """The batches written, once it is closed."""
        import pyarrow as pa

        with pa.OSFile(os.fsencode(self.path), "rb") as source, pa.ipc.open_stream(source) as reader:
            yield from reader

"""The files that a guest is made from: opened once, then read by their descriptors."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vmspec.image.source import ImageError, Version, version
from vmspec.plan.plan import PlannedFile

KEPT_MAX = 64 << 20  # bytes of a file that is hashed, at most


class Image:
    """An open file. ``made``: vmspec has made it from another one of the plan."""

    def __init__(self, path: Path, descriptor: int, as_it_was: Version, made: bool = False) -> None:
        self.path = path
        self.descriptor = descriptor
        self.version = as_it_was
        self.made = made


class Images:
    """A plan's files. Raises :class:`ImageError` if one has changed since the plan was made."""

    def __init__(self, files: tuple[PlannedFile, ...]) -> None:
        self._images: dict[str, Image] = {}
        try:
            for file in files:
                self._open(file)
        except BaseException:
            self.close()
            raise

    def _open(self, file: PlannedFile) -> None:
        try:
            descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ImageError(f"{file.path} cannot be opened any more: {error.strerror}") from error
        found = version(descriptor)
        self._images[file.name] = Image(file.path, descriptor, found, made=file.version is None)
        if file.version is not None and found[:5] != file.version[:5]:
            raise ImageError(f"{file.path} has changed since the plan was made: run the spec again")

    def keep(self, name: str, path: Path, descriptor: int) -> None:
        """Have another open file hashed as well, unless it is no regular file or takes long to read."""
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size <= KEPT_MAX:
            self._images[name] = Image(path, os.dup(descriptor), version(descriptor))

    def descriptor(self, path: Path) -> int:
        """The descriptor of a file of the plan."""
        return next(image.descriptor for image in self._images.values() if image.path == path)

    def reopened(self, name: str) -> Path | None:
        """A path that opens a file again, even if its name has changed; None if the plan has no such file."""
        image = self._images.get(name)
        return None if image is None else Path(f"/proc/self/fd/{image.descriptor}")

    def hashed(self) -> Iterator[tuple[str, Image]]:
        """The files whose hashes go into a trace, by name: those of a device have its name, a slash, and the key."""
        return ((name, image) for name, image in self._images.items() if _is_hashed(name, image))

    def close(self) -> None:
        """Close the files."""
        for image in self._images.values():
            if image.descriptor >= 0:
                os.close(image.descriptor)
            image.descriptor = -1


def _is_hashed(name: str, image: Image) -> bool:
    """Whether a file is; not what was made from another one, and not a device's image that takes long to read."""
    return not image.made and ("/" not in name or image.version.size <= KEPT_MAX)

"""The files that a guest is made from: opened once, read by their descriptors, and hashed as they were read."""

import hashlib
import os
import stat
import threading
from pathlib import Path

from vmspec.image.source import ImageError, Version, version
from vmspec.plan.plan import PlannedFile

KEPT_MAX = 64 << 20
CHUNK = 1 << 20  # bytes hashed at once, without the interpreter's lock


class Image:
    """An open file."""

    def __init__(self, path: Path, descriptor: int, as_it_was: Version) -> None:
        self.path = path
        self.descriptor = descriptor
        self.version = as_it_was
        self.sha256: str | None = None

    def unchanged(self) -> bool:
        """Whether the content is still what was opened. To replace or delete a file by name leaves it so, and changes
        its number of links and with that its time of change."""
        was, now = self.version, version(self.descriptor)
        written = (was.size, was.modified) != (now.size, now.modified)
        return not written and (was.changed == now.changed or was.links != now.links)


class Images:
    """A plan's files. Raises :class:`ImageError` where one is not what the plan was made from."""

    def __init__(self, files: tuple[PlannedFile, ...]) -> None:
        self._images: dict[str, Image] = {}
        self._closed = threading.Event()
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
        self._images[file.name] = Image(file.path, descriptor, found)
        if file.version is not None and found[:5] != file.version[:5]:
            raise ImageError(f"{file.path} was changed since the plan was made: run it again")

    def keep(self, name: str, path: Path, descriptor: int) -> None:
        """Hash what else is open, too, where it is a file and no larger than what is soon read."""
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size <= KEPT_MAX:
            self._images[name] = Image(path, os.dup(descriptor), version(descriptor))

    def descriptor(self, path: Path) -> int:
        """The descriptor of a file of the plan."""
        return next(image.descriptor for image in self._images.values() if image.path == path)

    def reopened(self, name: str) -> Path | None:
        """A path by which a file can be opened once more, whatever has become of its name; None where the plan has no
        such file."""
        image = self._images.get(name)
        return None if image is None else Path(f"/proc/self/fd/{image.descriptor}")

    def hash(self) -> None:
        """Hash the files, as soon as they are read: a file that is written to from then on has no hash."""
        for image in list(self._images.values()):
            if image.sha256 is None:
                image.sha256 = self._hash(image)

    def _hash(self, image: Image) -> str:
        hashed, at = hashlib.sha256(), 0
        try:
            while not self._closed.is_set() and (piece := os.pread(image.descriptor, CHUNK, at)):
                hashed.update(piece)
                at += len(piece)
        except OSError:
            return ""
        return hashed.hexdigest() if at == image.version.size and image.unchanged() else ""

    def hashes(self) -> dict[str, tuple[Path, str]]:
        """Path and SHA-256 of each file, by name; "" where it was written to before it was hashed."""
        self.hash()  # what was kept since
        return {name: (image.path, image.sha256 or "") for name, image in self._images.items() if name != "unpacked"}

    def give_up(self) -> None:
        """Hash no further: nobody waits for it any more."""
        self._closed.set()

    def close(self) -> None:
        """Close the files."""
        self.give_up()
        for image in self._images.values():
            if image.descriptor >= 0:
                os.close(image.descriptor)
            image.descriptor = -1

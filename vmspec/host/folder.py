"""A directory that is held open, so that what is in it is found wherever the directory is moved."""

import os
from pathlib import Path


class Folder:
    """The directory of ``path``, a file. ``descriptor`` is one that was opened before; else it is opened here.

    Raises OSError. Without /proc the directory is only found by its name.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self._given = path.parent
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self.descriptor = os.open(path.parent, flags) if descriptor is None else descriptor
        self._was = self._place()

    def way(self, path: Path) -> Path:
        """How to come to a file of the directory, which ``path`` names as it was given: through the descriptor."""
        link = Path(f"/proc/self/fd/{self.descriptor}")
        return link / path.name if link.is_symlink() else path

    def now(self, path: Path) -> Path:
        """The same file for people: as it was given, or where its directory has been moved since."""
        place = self._place()
        return path if place is None or place == self._was or not place.is_dir() else place / path.name

    def told(self, text: str) -> str:
        """A text in which there are ways of :meth:`way`, for people."""
        mark = self._given / "-"
        return text.replace(str(self.way(mark))[:-1], str(self.now(mark))[:-1])

    def _place(self) -> Path | None:
        try:
            return Path(f"/proc/self/fd/{self.descriptor}").readlink()
        except OSError:
            return None

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)

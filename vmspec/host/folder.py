"""A directory that is held open, so that its files are found wherever the directory is moved."""

import os
from pathlib import Path


class Folder:
    """The directory of ``path``, a file. ``descriptor`` is one opened earlier; else it is opened here.

    Raises OSError. Without /proc the directory is found only by its name.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self._given = path.parent
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self.descriptor = os.open(path.parent, flags) if descriptor is None else descriptor
        self._was = self._place()

    def way(self, path: Path) -> Path:
        """The path of a file of the directory through the descriptor; ``path`` is the path as it was given."""
        link = Path(f"/proc/self/fd/{self.descriptor}")
        return link / path.name if link.is_symlink() else path

    def now(self, path: Path) -> Path:
        """The same file's path for people: as given, or in the directory's current place."""
        place = self._place()
        return path if place is None or place == self._was or not place.is_dir() else place / path.name

    def told(self, text: str) -> str:
        """A text for people, in which paths from :meth:`way` are replaced."""
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

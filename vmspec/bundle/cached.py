"""Running a bundle: its files are unpacked into the user's cache, into ``bundles/<sha256>`` by the hash of its list of
files. The run reads them there."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from vmspec.bundle.archive import Bundle, bundle
from vmspec.bundle.private import Prepared, discarded, prepared
from vmspec.bundle.store import Content, held, place
from vmspec.bundle.unpacking import Contents
from vmspec.host.pathtext import from_text
from vmspec.host.progress import LONG
from vmspec.schema import toml


def prepare(
    path: Path, overrides: Sequence[str] | str, notice: Callable[[str], None], advance: Callable[[int], None]
) -> Prepared:
    """The plan of a bundle, whose files are unpacked if they are not yet. ``advance`` is called with each number of
    bytes that are unpacked. Raises SpecError, and what ``advance`` raises."""
    with ExitStack() as stack:
        with bundle(path) as opened:
            folder = _unpacked(opened, notice, advance, stack)
            found = Contents(folder, opened)
        inside = found.inside
        for key in inside.written:
            notice(f"{discarded(inside.files[key])}; to keep them, use vmspec unbundle")
        files = {key: folder / from_text(name) for key, name in inside.files.items() if key[-1] != "class"}
        made = prepared(toml.loads(found.text), files, inside.written, found.lock, overrides, path, folder)
        return made._replace(release=stack.pop_all().close)


def _unpacked(opened: Bundle, notice: Callable[[str], None], advance: Callable[[int], None], stack: ExitStack) -> Path:
    """The folder of a bundle in the cache, which stays there until ``stack`` closes."""

    def fill(new: Path) -> None:
        if opened.size >= LONG:
            notice(f"unpacking {opened.size / (1 << 30):.1f} GiB into {folder}")
        opened.unpack(new, advance)
        Contents(new, opened)

    files = {name: Content(file.size, file.sha256) for name, file in opened.manifest.files.items()}
    try:
        folder = place("bundles") / opened.digest
        held(folder, files, fill, stack)
    except OSError as error:
        raise opened.wrong(f"cannot be unpacked into the cache: {error.strerror or error}") from error
    return folder

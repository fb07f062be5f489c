"""The hash of an image as it was when opened."""

import hashlib
import os

from vmspec.image.source import Version, version

CHUNK = 1 << 20  # bytes hashed at once, without the interpreter's lock


def digest(descriptor: int, as_it_was: Version) -> str:
    """The SHA-256 of an open file; "" if it cannot be read, or was written to since it had that version."""
    hashed, at = hashlib.sha256(), 0
    try:
        while piece := os.pread(descriptor, CHUNK, at):
            hashed.update(piece)
            at += len(piece)
    except OSError:
        return ""
    return hashed.hexdigest() if at == as_it_was.size and unchanged(descriptor, as_it_was) else ""


def unchanged(descriptor: int, was: Version) -> bool:
    """Whether the content is unchanged. Replacing or deleting a file by name does not change it, only its number of
    links and its ctime."""
    now = version(descriptor)
    written = (was.size, was.modified) != (now.size, now.modified)
    return not written and (was.changed == now.changed or was.links != now.links)

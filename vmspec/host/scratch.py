"""Folders that exist during a block. If the process is killed, the next one that makes such a folder removes them.

A process locks its folders (flock). The kernel releases the locks of a process that has ended.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder of the user's own in ``parent``; its name begins with ``prefix``. At the end of the block it is
    removed, unless the block has moved it away. Raises OSError."""
    for left in parent.glob(f"{prefix}*"):
        discard(left)
    with ExitStack() as stack:
        folder = _made(parent, prefix, stack)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # what is left, the next one removes


def discard(folder: Path) -> bool:
    """Remove a folder of the user's own, unless a process has locked it. Return whether it was free."""
    with ExitStack() as stack:
        free = folder.is_dir() and folder.lstat().st_uid == os.getuid() and lock(folder, stack, fcntl.LOCK_EX, False)
        if free:
            shutil.rmtree(folder, ignore_errors=True)
        return free


def lock(folder: Path, stack: ExitStack, how: int, wait: bool = True) -> bool:
    """Lock a folder until ``stack`` closes, ``how`` LOCK_EX or LOCK_SH. Return False if it does not exist, if it has
    been replaced meanwhile, if another process has it locked and ``wait`` is false, or if it cannot be locked."""
    with ExitStack() as opened:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            opened.callback(os.close, descriptor)
            fcntl.flock(descriptor, how if wait else how | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(descriptor), folder.lstat()):
                return False
        except OSError:
            return False
        stack.push(opened.pop_all())
    return True


def _made(parent: Path, prefix: str, stack: ExitStack) -> Path:
    """A new folder, locked if its file system has locks."""
    while True:
        folder = Path(mkdtemp(prefix=prefix, dir=parent))
        lock(folder, stack, fcntl.LOCK_EX)
        if folder.exists():  # another process may have removed it before it was locked
            return folder

"""virtiofsd: the back end that serves a folder of the host."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.backends.errors import BackendError
from runner.backends.vhost.backend import BackEnd
from runner.backends.vhost.session import Session
from runner.backends.vhost.start import LISTENER, started

QUEUES = 2  # of virtio-fs: for requests that must not wait, and for the others
# Where distributions have it: in no PATH.
PLACES = ("/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd")


def opened(options: Mapping[str, Any]) -> BackEnd:
    """Start it for a device's options. Raises BackendError."""
    folder = Path(options["path"])
    words = command(folder, options["cache"])

    def start() -> Session:
        return started(words, Path("/"), "", quiet=True)

    return BackEnd(start, QUEUES, 0, "")


def command(folder: Path, cache: str) -> list[str]:
    """The words of its command. It shuts itself up in the folder by namespaces, for which it must be root: another user
    becomes root in a namespace of users, where this user is the only one.

    The options are those that the program had when it was part of QEMU, which its successor in Rust takes too.
    """
    program = shutil.which("virtiofsd") or next(filter(Path.exists, map(Path, PLACES)), None)
    if program is None:
        package = "virtiofsd, or qemu-system-common in Debian 12"
        raise BackendError("", f"a shared folder needs the program virtiofsd: install the package {package}")
    if "," in str(folder) or "\\" in str(folder):
        raise BackendError("path", f"{folder}: virtiofsd takes no path with a comma or a backslash")
    words = [str(program), f"--fd={LISTENER}", "-f", "-o", f"source={folder}"]
    words += ["-o", f"cache={cache},sandbox=namespace,log_level=err"]
    return words if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--", *words]

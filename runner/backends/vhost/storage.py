"""qemu-storage-daemon: the back end that serves disk images in formats of their own."""

import json
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.backends.errors import BackendError
from runner.backends.vhost import qcow2
from runner.backends.vhost.backend import BackEnd
from runner.backends.vhost.session import Session
from runner.backends.vhost.start import LISTENER, started

PROGRAM = "qemu-storage-daemon"
CONFIGURATION = 60  # bytes, as runner.devices.virtio.blk has them
BLOCK = 512  # bytes of a logical block, unless the spec says


def opened(options: Mapping[str, Any], image: int, overlay: int | None) -> BackEnd:
    """Start it for a disk's options. ``image`` is the open image, ``overlay`` an empty file for what the guest writes.
    Raises BackendError."""
    if overlay is not None:
        os.pwrite(overlay, qcow2.empty(qcow2.size(image)), 0)
    words = command(options, overlay)
    directory = Path(options["path"]).parent

    def start() -> Session:
        return started(words, directory, "path", quiet=True, descriptors=[] if overlay is None else [overlay])

    return BackEnd(start, options["queues"], CONFIGURATION, "path")


def command(options: Mapping[str, Any], overlay: int | None = None) -> list[str]:
    """The words of its command. It locks the image as QEMU does, which vmrun respects, and ends if another has it."""
    form, writes = options["format"], options["mode"] == "rw"
    if shutil.which(PROGRAM) is None:
        why = f'"{form}" needs the program {PROGRAM}: install the package qemu-system-common, or give a raw image'
        raise BackendError("format", why)
    block_device = stat.S_ISBLK(os.stat(options["path"]).st_mode)  # noqa: PTH116 - a path of any bytes
    file = {"driver": "host_device" if block_device else "file", "filename": str(options["path"])}
    rules = {"read-only": not writes, "discard": "unmap", "cache": {"direct": options["direct"]}}
    node = {"driver": form, "node-name": "disk", "file": file | rules, **rules}
    if overlay is not None:
        changed = {"driver": "file", "filename": f"/proc/self/fd/{overlay}", "discard": "unmap"}
        node = {"driver": "qcow2", "node-name": "disk", "file": changed, "backing": node | {"node-name": "image"}}
    export = {
        "type": "vhost-user-blk",
        "id": "disk",
        "node-name": "disk",
        "addr": {"type": "fd", "str": LISTENER},
        "writable": options["mode"] != "ro",
        "num-queues": options["queues"],
        "logical-block-size": options["block-size"] or BLOCK,
    }
    return [PROGRAM, "--blockdev", json.dumps(node), "--export", json.dumps(export)]

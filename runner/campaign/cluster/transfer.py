"""Files to a worker and from it, in pieces."""

import os
from collections.abc import Iterator
from pathlib import Path

from runner.campaign.cluster import remote
from runner.campaign.cluster.connection import Connection
from runner.campaign.cluster.errors import ClusterError
from runner.campaign.cluster.parcel import File
from vmspec.host.atomic import replaced
from vmspec.lock.hashing import extents
from vmspec.lock.images import opened

PIECE = 8 << 20  # bytes of a message
HOLE = 1 << 30  # bytes of a hole that are hashed at once


def send(connection: Connection, worker: str, file: File) -> None:
    """Send a file to a worker, unless its host has got it meanwhile. Raises WorkerLostError, ClusterError."""
    if not connection.call(worker, remote.lacks, file.content):
        return
    begin = True
    for piece in _pieces(file):
        try:
            connection.call(worker, remote.receive, file.content, begin, piece)
        except OSError as error:
            raise ClusterError(f"the worker {worker} cannot store {file.path}: {error.strerror or error}") from error
        begin = False


def _pieces(file: File) -> Iterator[bytes | int]:
    """The file in pieces: bytes, or the length of a hole. An empty file is one piece."""
    with opened(file.path) as (descriptor, size):
        if not size:
            yield b""
        for start, end, is_data in extents(descriptor, size):
            for at in range(start, end, PIECE if is_data else HOLE):
                yield os.pread(descriptor, min(PIECE, end - at), at) if is_data else min(HOLE, end - at)


def fetch(connection: Connection, worker: str, files: tuple[tuple[Path, int], ...], folder: Path) -> None:
    """Fetch files into a folder, each whole or not at all, and remove them there. Raises WorkerLostError, OSError."""
    for path, size in files:
        with replaced(folder / path.name) as out:
            for at in range(0, size, PIECE):
                out.write(connection.call(worker, remote.read, path, at, min(PIECE, size - at)))
    connection.call(worker, remote.remove, tuple(path for path, _ in files))

"""A machine as it travels to workers: the text of its spec, and the files that it names by their hashes. The files
themselves follow once, to workers that lack them."""

import hashlib
import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import NamedTuple

from vmspec import __version__
from vmspec.bundle.gathering import gather
from vmspec.bundle.store import Content
from vmspec.document import Document
from vmspec.image.source import Version, version
from vmspec.lock.hashing import sha256
from vmspec.lock.images import opened
from vmspec.plan.settings import PlannedCPU
from vmspec.schema.problems import Problem, SpecError

TRACE = "trace.arrow"  # the runs record elsewhere; the spec's own place may not be below its folder


class File(NamedTuple):
    """A file of a machine: where the campaign's host has it, and its content."""

    path: Path
    content: Content


class Parcel(NamedTuple):
    """A machine for workers: the ``release`` of vmrun that the campaign has; the name and the text of the spec; its
    ``files`` by the names in it; the CPU policy, and a hash of the CPUID that guests must see."""

    release: str
    name: str
    text: str
    files: tuple[tuple[str, File], ...]
    cpu: PlannedCPU
    cpuid: str

    @property
    def digest(self) -> str:
        """A name for its contents."""
        contents = [(name, file.content.sha256) for name, file in self.files]
        return hashlib.sha256(json.dumps([self.name, self.text, contents]).encode()).hexdigest()[:16]


def parcel(spec: Path, overrides: tuple[str, ...], cpuid: str, digests: MutableMapping[Version, str]) -> Parcel:
    """The parcel of a spec with overrides. ``digests`` are the hashes of files that are known. Raises SpecError if a
    file cannot travel."""
    document = Document.open(spec, (*overrides, f'trace.path="{TRACE}"'))
    plan = document.plan()
    if plan.lock.require:
        message = "runs on a cluster are not compared with a lock: override it with lock.require = false in [axes]"
        raise SpecError((document.locate(Problem("lock.require", message)),))
    gathered = gather(document, plan)
    files = tuple((name, File(path, _content(path, digests))) for name, path in gathered.files.items())
    return Parcel(__version__, gathered.spec, gathered.text, files, plan.cpu, cpuid)


def _content(path: Path, digests: MutableMapping[Version, str]) -> Content:
    try:
        with opened(path) as (descriptor, size):
            now = version(descriptor)
            if now not in digests:
                digests[now] = sha256(descriptor, size, lambda size: None)
            return Content(size, digests[now])
    except OSError as error:
        raise SpecError((Problem("", f"cannot be read: {error.strerror or error}", file=path),)) from error

"""A lock as a plain table, without the models: the recorder makes one for every trace."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from vmspec import __version__
from vmspec.lock import images
from vmspec.plan.plan import Plan
from vmspec.show.dump import toml

FORMAT = 1  # incremented when an older release would misunderstand a lock
CODE = "code"
HEAD = """\
# What a run of {spec} depends on. Written by vmspec lock, compared by vmrun --locked; see docs/lock.md of vmrun.
# A leaf of cpuid has EAX, EBX, ECX and EDX in hexadecimal.
"""


class Hashed(NamedTuple):
    """A file that was hashed; a ``sha256`` of "" says that it was not."""

    path: str
    size: int  # bytes
    sha256: str
    written: bool = False  # the guest may write to it


def made(plan: Plan, found: Mapping[str, Hashed], host: Mapping[str, Any]) -> dict[str, Any]:
    """The lock of a plan whose files have these hashes, on a host with these facts. The code in a spec is one more
    image."""
    hashed = dict(found)
    if plan.code is not None:
        hashed = {CODE: Hashed("", len(plan.code), hashlib.sha256(plan.code).hexdigest()), **hashed}
    spec = images.resolved(plan)
    return {
        "format": FORMAT,
        "vmrun": __version__,
        "spec-sha256": spec_digest(spec),
        "spec": spec,
        "images": {name: file._asdict() for name, file in hashed.items()},
        "host": host,
    }


def spec_digest(spec: dict[str, Any]) -> str:
    """The hash of a resolved spec. The order of keys does not count."""
    return hashlib.sha256(toml(_ordered(spec)).encode()).hexdigest()


def dumps(table: Mapping[str, Any], spec: str, *, ascii: bool = False) -> str:
    """The text of a lock's file; ``spec`` is the name of the spec's file for people."""
    name = "".join(char if char.isprintable() else "?" for char in spec)
    return HEAD.format(spec=name) + "\n" + toml(table, ascii=ascii)


def _ordered(value: Any) -> Any:
    match value:
        case dict():
            return {name: _ordered(value[name]) for name in sorted(value)}
        case list():
            return [_ordered(part) for part in value]
        case _:
            return value

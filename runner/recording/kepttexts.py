"""Texts of a trace's metadata that are the same for several runs of a process: making them takes longer than a short
run."""

import pickle
from functools import lru_cache
from typing import Any, NamedTuple

from runner.recording import facts, lockfacts
from vmspec.lock.table import Hashed

KEPT = 8  # texts of so many different runs


class Told(NamedTuple):
    """What the VMM tells of a run, and the metadata that follows from it. Neither is changed."""

    about: dict[str, Any]
    metadata: dict[str, str]


@lru_cache(KEPT)
def told(about: bytes) -> Told:
    """What a pickled result of :func:`runner.session.facts.about` tells."""
    values = pickle.loads(about)
    return Told(values, facts.metadata(values))


@lru_cache(KEPT)
def lock(about: bytes, files: tuple[tuple[str, Hashed], ...], tsc_khz: int) -> str:
    """The lock of a run with these files."""
    return lockfacts.text(told(about).about, dict(files), tsc_khz)

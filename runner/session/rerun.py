"""Running what a trace recorded."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import tracer
from vmspec.bundle.private import Prepared
from vmspec.rerun.recorded import Recorded, prepare
from vmspec.schema.problems import Problem, SpecError
from vmspec.trace import keys


def prepared(
    path: Path,
    folders: Sequence[Path],
    overrides: Sequence[str] | str,
    notice: Callable[[str], None],
    advance: Callable[[int], None],
    devices: bool = True,
) -> Prepared:
    """The plan of a trace's run, with images that are found by their hashes. ``advance`` is called with each number of
    bytes that are hashed. Without ``devices`` only those are needed that the guest's memory is loaded from. Raises
    SpecError, and what ``advance`` raises."""
    try:
        metadata = tracer.load(path).metadata
    except tracer.TraceError as error:
        raise SpecError((Problem("", str(error)),)) from error
    if keys.RESTORED in metadata:
        message = f"cannot be run again: its machine went on from {metadata[keys.RESTORED]}; see vmrun --restore"
        raise SpecError((Problem("", message, file=path),))
    for key in (keys.SPEC, keys.LOCK):
        if key not in metadata:
            merged = "it has several machines" if keys.MERGED in metadata else "it is of an older vmrun"
            raise SpecError((Problem("", f"cannot be run again: it has no {key}, as {merged}", file=path),))
    images = json.loads(metadata.get(keys.IMAGES, "{}"))  # an object, or the trace is damaged
    found = Recorded(path, metadata[keys.SPEC], metadata[keys.LOCK], images)
    return prepare(found, folders, overrides, notice, advance, devices)

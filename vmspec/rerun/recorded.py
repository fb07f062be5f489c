"""The plan of what a trace recorded. Its spec has the paths of the host that recorded it; its lock has the hashes."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from vmspec.bundle.inside import ROOT, below, is_output, keyed
from vmspec.bundle.private import Prepared, discarded, holder, prepared
from vmspec.devices.virtio import VirtioPmem
from vmspec.document import Document
from vmspec.host.pathtext import from_text, to_text
from vmspec.lock import images
from vmspec.lock.model import Lock
from vmspec.lock.text import LockText
from vmspec.plan.plan import PlannedDevice
from vmspec.plan.resources import named as planned
from vmspec.rerun.search import Search, Wanted
from vmspec.rerun.sources import kept
from vmspec.schema import overrides as override
from vmspec.schema import toml
from vmspec.schema.expressions import texts
from vmspec.schema.keypath import KeyPath, join
from vmspec.schema.problems import Problem, SpecError, SpecWarning
from vmspec.spec.models import Spec
from vmspec.trace import keys


class Recorded(NamedTuple):
    """What a trace has of its run: the texts of its spec and its lock, path and hash of each image by its name."""

    trace: Path
    spec: str
    lock: str
    images: Mapping[str, Any]

    def image(self, name: str, size: int | None, sha256: str | None = None) -> Wanted | None:
        """An image by its name, None if the trace does not say where it was."""
        match self.images.get(name):
            case {"path": str(text), "sha256": str(known)}:
                try:
                    return Wanted(name, from_text(text), size, known if sha256 is None else sha256)
                except ValueError:
                    return None
        return None


def prepare(
    recorded: Recorded,
    folders: Sequence[Path],
    overrides: Sequence[str] | str,
    notice: Callable[[str], None],
    advance: Callable[[int], None] = lambda size: None,
    devices: bool = True,
) -> Prepared:
    """The plan of the recorded run. Its images are found by their hashes: where they were, else in the folders.
    ``advance`` is called with each number of bytes that are hashed. Without ``devices``, whose answers the caller has
    from the trace, only the files are found that the guest's memory is loaded from. Raises SpecError, with every image
    that is not found, and what ``advance`` raises."""
    lock = LockText(recorded.lock, recorded.trace / keys.LOCK)
    document = Document(recorded.spec, ROOT, file=recorded.trace / keys.SPEC)
    with warnings.catch_warnings(action="ignore", category=SpecWarning):  # given when it ran
        spec = document.spec()
    table = toml.loads(recorded.spec)
    table.pop("lock", None)  # its lock is the trace's
    if devices:
        _redirect(table, spec, lock.lock, notice)
        _unreferred(table, spec, notice)
    else:
        table["boot"].pop("symbols", None)
        table.pop("expect", None)
    given = set(_overridden(overrides))
    wanted = {
        key: one
        for key, one in _images(spec, lock.lock, recorded)
        if key not in given and (devices or _loaded(spec, key))
    }
    modules = list(_modules(spec, lock.lock, recorded)) if devices else []
    search = Search(folders, advance)
    found = {one: search.find(one) for one in (*wanted.values(), *modules)}
    missing = [one for one, path in found.items() if path is None]
    if missing:
        raise SpecError(tuple(_missing(one, recorded.trace) for one in missing))
    places = {one: path for one, path in found.items() if path is not None}
    files = {key: places[one] for key, one in wanted.items()}
    written = [key for key, named in keyed(spec) if named.writes and key in files]
    for key in written:
        notice(discarded(str(files[key])))
    with ExitStack() as stack:
        sources = kept([(one, places[one]) for one in modules], recorded.trace, stack)
        made = prepared(table, files, written, lock, overrides, recorded.trace, sources, devices)
        return made._replace(release=stack.pop_all().close)


def _loaded(spec: Spec, key: KeyPath) -> bool:
    """Whether the guest's memory is loaded from the file of a key, or maps it."""
    if key[0] == "device":
        return isinstance(spec.devices[int(key[1])], VirtioPmem)
    return key[0] == "boot" and key[1] != "symbols"


def _devices(spec: Spec) -> list[PlannedDevice]:
    """The devices by the names that the trace has for them."""
    counts: dict[str, int] = {}
    return [planned(model, counts) for model in spec.devices]


def _images(spec: Spec, lock: Lock, recorded: Recorded) -> Iterator[tuple[KeyPath, Wanted]]:
    """The images, by the keys that name them. What is not an image, such as a socket, stays where it was."""
    devices = _devices(spec)
    for key, named in keyed(spec):
        if key[-1] == "class" or key[0] == "expect" or is_output(spec, key, named):
            continue
        if key == ("cpu", "model"):  # a lock has its CPUID, and no hash of the file
            if (model := recorded.image("cpu", None)) is not None:
                yield key, model
        elif (image := lock.images.get(name := images.image_name(key, devices))) is not None:
            yield key, Wanted(name, named.path, image.size, image.sha256)


def _modules(spec: Spec, lock: Lock, recorded: Recorded) -> Iterator[Wanted]:
    """The sources of Python devices."""
    owners = {device.name for device in _devices(spec) if "class" in device.options}
    for name, image in lock.images.items():
        owner, _, file = name.partition("/")
        if owner in owners and file.endswith(".py"):
            where = recorded.image(name, image.size, image.sha256)
            yield Wanted(name, Path(file), image.size, image.sha256) if where is None else where


def _redirect(table: dict[str, Any], spec: Spec, lock: Lock, notice: Callable[[str], None]) -> None:
    """Have the run write below the current folder: by the names that its files had below the spec's folder, else by
    their last names."""
    for key, named in keyed(spec):
        if not is_output(spec, key, named):
            continue
        try:
            text = holder(lock.spec, key)[key[-1]]
        except (KeyError, IndexError, TypeError):
            text = None
        name = below(ROOT / text, ROOT) if isinstance(text, str) and "\0" not in text else None
        if name is None:
            name = to_text(named.path.name)
            notice(f"{named.where}: writes to {name} in the current folder; the recorded run wrote to {named.path}")
        holder(table, key)[key[-1]] = f"./{name}"


def _unreferred(table: dict[str, Any], spec: Spec, notice: Callable[[str], None]) -> None:
    """Do without a reference trace that is not where it was: no hash of it is known."""
    reference = spec.expect.reference
    if reference is not None and not reference.is_file():
        del table["expect"]["reference"]
        table["expect"].pop("differ", None)
        notice(f"expect.reference: {reference} was not found, so the run is not compared with it")


def _overridden(overrides: Sequence[str] | str) -> Iterator[KeyPath]:
    """The keys that overrides set."""
    for expression in texts(overrides):
        with suppress(ValueError):  # the document reports it
            yield override.parse(expression)[0]


def _missing(wanted: Wanted, trace: Path) -> Problem:
    where = wanted.path if not wanted.path.exists() else f"{wanted.path}, which has changed"
    message = f"was not found: {wanted.content}. It was {where}; name a folder that has it with --images DIR"
    return Problem(join(("images", wanted.name)), message, file=trace)

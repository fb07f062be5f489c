"""What has changed since a lock was made: each thing by its name, with its class, old and new."""

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Literal, NamedTuple

from vmspec.lock.model import Lock, LockedImage
from vmspec.plan.features import FEATURES, Bit
from vmspec.schema.cpuid_leaves import NOTHING, Answer, Leaf, Table
from vmspec.schema.keypath import KeyPath, join
from vmspec.show.dump import toml

Class = Literal["must", "may", "info"]
SHOWN = 160  # characters of a value in a message
BITS_SHOWN = 8


class Change(NamedTuple):
    """One thing that is not as the lock has it. ``path`` is its key in the lock; ``part`` what of that key, if the key
    has several things; ``old`` and ``new`` are None where there is none. ``note`` says more of the difference."""

    path: KeyPath
    weight: Class
    old: str | None
    new: str | None
    part: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """The name for people."""
        return join(self.path) + (f" {self.part}" if self.part else "")

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"

    @property
    def message(self) -> str:
        """Old and new in one line."""
        match self.old, self.new:
            case None, new:
                text = f"is new: {_cut(new)}"
            case old, None:
                text = f"is gone, it was {_cut(old)}"
            case old, new:
                text = f"was {_cut(old)}, is {_cut(new)}"
        return text + (f" ({self.note})" if self.note else "")


def compare(old: Lock, new: Lock) -> tuple[Change, ...]:
    """The changes from one lock to another, in the order of the lock's file."""
    changes = [*_value(("vmrun",), "must", old.vmrun, new.vmrun)]
    if old.spec_sha256 != new.spec_sha256:
        changes += _tree(("spec",), old.spec, new.spec)
    changes += _images(old.images, new.images)
    # A feature that only one of both removes is a change of the spec.
    removed = set(_removed(old)) ^ set(_removed(new))
    changes += _cpuid(old.host.must.cpuid, new.host.must.cpuid, {FEATURES[name] for name in removed & FEATURES.keys()})
    may = ("host", "may")
    changes += _value((*may, "modules"), "may", list(old.host.may.modules), list(new.host.may.modules))
    changes += _value((*may, "tsc_khz"), "may", old.host.may.tsc_khz, new.host.may.tsc_khz)
    capabilities = old.host.may.capabilities, new.host.may.capabilities
    for name in _names(*capabilities):
        changes += _value((*may, "capabilities", name), "may", *(table.get(name) for table in capabilities))
    info = ("host", "info")
    changes += _value((*info, "kernel"), "info", old.host.info.kernel, new.host.info.kernel)
    changes += _value((*info, "processor"), "info", old.host.info.processor, new.host.info.processor)
    return tuple(changes)


def _names(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Iterator[Any]:
    """The keys of both, those of the old one first."""
    yield from old
    yield from (name for name in new if name not in old)


def _value(path: KeyPath, weight: Class, old: Any, new: Any) -> Iterator[Change]:
    before, after = (None if value is None else _text(value) for value in (old, new))
    if before != after:
        yield Change(path, weight, before, after)


def _tree(path: KeyPath, old: Any, new: Any) -> Iterator[Change]:
    """The changes of a part of the spec: each key, and each element of an array of tables."""
    match old, new:
        case dict(), dict():
            parts: Iterator[Any] = _names(old, new)
            get: Callable[[Any, Any], Any] = lambda table, name: table.get(name)  # noqa: E731
        case [*_], [*_] if any(isinstance(item, dict) for item in (*old, *new)):
            parts = iter(range(max(len(old), len(new))))
            get = lambda items, at: items[at] if at < len(items) else None  # noqa: E731
        case _:
            yield from _value(path, "must", old, new)
            return
    for part in parts:
        yield from _tree((*path, part), get(old, part), get(new, part))


def _images(old: Mapping[str, LockedImage], new: Mapping[str, LockedImage]) -> Iterator[Change]:
    for name in _names(old, new):
        before, after = old.get(name), new.get(name)
        path = ("images", name)
        match before, after:
            case LockedImage(), LockedImage() if "" in (before.sha256, after.sha256) and before.sha256 != after.sha256:
                # A trace's lock does not have the hash of a large disk.
                weight: Class = "may" if before.size == after.size else "must"
                yield Change(path, weight, _image(before), _image(after))
            case LockedImage(), LockedImage() if (before.sha256, before.size) == (after.sha256, after.size):
                pass
            case LockedImage(), LockedImage():
                written = before.written and after.written and before.size == after.size
                note = "the guest writes to it" if written else _paths(before, after)
                yield Change(path, "may" if written else "must", _image(before), _image(after), note=note)
            case _:
                old_text, new_text = (None if image is None else _image(image) for image in (before, after))
                yield Change(path, "must", old_text, new_text)


def _paths(before: LockedImage, after: LockedImage) -> str:
    return after.path if before.path == after.path else f"{before.path}, now {after.path}"


def _image(image: LockedImage) -> str:
    size = "1 byte" if image.size == 1 else f"{image.size:,} bytes"
    return f"{size}, sha256 {image.sha256}" if image.sha256 else f"{size}, not hashed"


def _removed(lock: Lock) -> Iterator[str]:
    """The features that the spec removes from CPUID."""
    match lock.spec:
        case {"cpu": {"disable": [*names]}}:
            yield from (name for name in names if isinstance(name, str))


def _cpuid(old: Table, new: Table, ignored: Set[Bit]) -> Iterator[Change]:
    for leaf in sorted({*old, *new}, key=str):
        before, after = old.get(leaf, NOTHING), new.get(leaf, NOTHING)
        for register in Answer._fields:
            was, now = getattr(before, register), getattr(after, register)
            mask = sum(1 << bit for bit in range(32) if Bit(leaf.function, leaf.subleaf or 0, register, bit) in ignored)
            if (was ^ now) & ~mask:
                path = ("host", "must", "cpuid", str(leaf))
                yield Change(path, "must", f"{was:#010x}", f"{now:#010x}", register, _bits(leaf, register, was, now))


def _bits(leaf: Leaf, register: str, was: int, now: int) -> str:
    """The bits that differ, by their names in /proc/cpuinfo where they have one."""
    differing = [bit for bit in range(32) if (was ^ now) >> bit & 1]
    if len(differing) > BITS_SHOWN:
        return f"{len(differing)} bits differ"
    named = {
        bit.bit: name
        for name, bit in FEATURES.items()
        if (bit.function, bit.leaf_index, bit.register) == (leaf.function, leaf.subleaf or 0, register)
    }
    words = []
    for bit in differing:
        name = f"{bit}, {named[bit]}," if bit in named else f"{bit}"
        words.append(f"bit {name} is {now >> bit & 1}")
    return "; ".join(words)


def _text(value: Any) -> str:
    """A value as TOML writes it, tables in braces."""
    match value:
        case dict():
            return "{" + ", ".join(f"{join((name,))} = {_text(part)}" for name, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_text, value)) + "]"
        case _:
            return toml({"value": value}).removeprefix("value = ").rstrip("\n")


def _cut(text: str | None) -> str:
    assert text is not None
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."

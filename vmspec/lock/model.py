"""The lock: what a run depends on. The host's facts are in a table for each class: what must be the same, what may
change a boot, and what is only for information."""

from typing import Any

from attrs import field, frozen

from vmspec.lock.table import FORMAT
from vmspec.lock.values import AnyTable, Named, Numbers, Sha256
from vmspec.schema.cpuid_leaves import Table as Leaves
from vmspec.schema.cpuid_table import CpuidTable
from vmspec.schema.tables import Table
from vmspec.schema.value import Model, key
from vmspec.schema.values import Choice, Flag, Integer, Many, Text

SIZE_MAX = (1 << 63) - 1


@frozen(eq=False, repr=False)
class LockedImage(Model):
    """A file that the run reads. ``written``: the guest may write to it too."""

    path: str = field(metadata=key(Text(), "the file, relative to the spec's directory if it is below it"))
    size: int = field(metadata=key(Integer(0, SIZE_MAX), "its length in bytes"))
    sha256: str = field(metadata=key(Sha256(empty=True), "the hash of its content, holes as zeros"))
    written: bool = field(default=False, metadata=key(Flag(), "the guest writes to it, so its content may change"))


@frozen(eq=False, repr=False)
class Must(Model):
    """What must be the same."""

    cpuid: Leaves = field(factory=dict, metadata=key(CpuidTable(), "CPUID of a guest with one vCPU"))


@frozen(eq=False, repr=False)
class May(Model):
    """What may change a boot."""

    modules: tuple[str, ...] = field(default=(), metadata=key(Many(Text()), "the loaded modules of KVM"))
    tsc_khz: int = field(default=0, metadata=key(Integer(0, SIZE_MAX), "the rate of the guest's TSC"))
    capabilities: dict[str, int] = field(factory=dict, metadata=key(Numbers(), "KVM's capabilities, with its answers"))


@frozen(eq=False, repr=False)
class Info(Model):
    """What is only for information."""

    kernel: str = field(default="", metadata=key(Text(), "the host's kernel"))
    processor: str = field(default="", metadata=key(Text(), "the host's processor"))


@frozen(eq=False, repr=False)
class Host(Model):
    """The host's facts by their class."""

    must: Must = field(factory=Must, metadata=key(Table(Must), "what must be the same"))
    may: May = field(factory=May, metadata=key(Table(May), "what may change a boot"))
    info: Info = field(factory=Info, metadata=key(Table(Info), "what is only for information"))


@frozen(eq=False, repr=False)
class Verified(Model):
    """What runs of the spec had in common when ``vmrun --verify`` compared them. A new lock has none."""

    level: str = field(metadata=key(Choice("exact", "repeatable"), "exact: registers and memory at the end, too"))
    runs: int = field(metadata=key(Integer(2, SIZE_MAX), "the runs that were compared"))
    end: str = field(metadata=key(Text(), "how they ended"))
    exits: int = field(metadata=key(Integer(0, SIZE_MAX), "the exits of each"))
    registers_sha256: str = field(
        metadata=key(Sha256(), "the hash of the registers at the end of the first run", name="registers-sha256")
    )
    memory_sha256: str = field(
        metadata=key(Sha256(), "the hash of the memory at the end of the first run", name="memory-sha256")
    )


@frozen(eq=False, repr=False)
class Lock(Model):
    """What a run depends on."""

    format: int = field(metadata=key(Integer(FORMAT, FORMAT), "the format of the lock"))
    vmrun: str = field(metadata=key(Text(), "the version of vmrun"))
    spec_sha256: str = field(
        metadata=key(Sha256(), "the hash of the table spec as TOML with sorted keys", name="spec-sha256")
    )
    spec: dict[str, Any] = field(
        metadata=key(AnyTable(), "the spec with its defaults and the overrides, without the keys that name an image")
    )
    images: dict[str, LockedImage] = field(
        factory=dict, metadata=key(Named(LockedImage), "the files that the run reads, as a trace names them")
    )
    host: Host = field(factory=Host, metadata=key(Table(Host), "the host's facts, by their class"))
    verified: Verified | None = field(
        default=None, metadata=key(Table(Verified), "the verdict of vmrun --verify, if there is one")
    )

"""The table ``[expect]``: what a run must do to be a success."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen

from vmspec.schema.expected_values import ByName, Range, Verdict
from vmspec.schema.keypath import KeyPath
from vmspec.schema.pattern import Pattern
from vmspec.schema.tables import Table
from vmspec.schema.value import Model, key
from vmspec.schema.values import Choice, Duration, File, Flag, Integer, Many, Text
from vmspec.trace.ends import ENDS
from vmspec.trace.record import COMPARED, REASONS

EXITS = Integer(0, 1 << 62)
ADDRESSES = 1 << 52  # physical addresses have at most 52 bits (Intel SDM volume 3, 4.1.4)


@frozen(eq=False, repr=False)
class ExitLimits(Model):
    """How many exits a run may have, at most."""

    all: int | None = field(default=None, metadata=key(EXITS, "all exits of all vCPUs"))
    reason: dict[str, int] = field(
        factory=dict, metadata=key(ByName(EXITS, REASONS), "exits by KVM's reason, as in { io = 1000 }")
    )
    device: dict[str, int] = field(
        factory=dict,
        metadata=key(ByName(EXITS), "exits by device, as in { serial0 = 1000 }; needs a trace"),
    )


@frozen(eq=False, repr=False)
class TimeLimits(Model):
    """How long a run may take, at most, by the times of its trace."""

    guest: int | None = field(
        default=None, metadata=key(Duration(), "in KVM_RUN, in the guest or halted, all vCPUs together; needs a trace")
    )
    handling: int | None = field(
        default=None, metadata=key(Duration(), "in vmrun, handling exits, all vCPUs together; needs a trace")
    )
    line: dict[str, int] = field(
        factory=dict,
        metadata=key(
            ByName(Duration()),
            'from the start until the console prints a line with a text, as in { "login:" = "5s" }; needs a trace',
        ),
    )


@frozen(eq=False, repr=False)
class Expect(Model):
    """What makes a run a success."""

    console: tuple[str, ...] = field(
        default=(), metadata=key(Many(Text()), "texts that must appear on the console, in this order")
    )
    absent: tuple[str, ...] = field(default=(), metadata=key(Many(Text()), "texts that must not appear on the console"))
    patterns: tuple[str, ...] = field(
        default=(), metadata=key(Many(Pattern()), "each must match a line of the console, in any order")
    )
    forbidden: tuple[str, ...] = field(
        default=(), metadata=key(Many(Pattern()), "patterns that must not match any line of the console")
    )
    exit: tuple[str, ...] = field(
        default=(),
        metadata=key(
            Many(Choice(*ENDS)),
            "the ends that count as success; not given: reset, poweroff, halt, and debug-exit with status 0",
        ),
    )
    status: int | None = field(default=None, metadata=key(Integer(0, 255), "the status that a debug-exit must have"))
    ktap: bool = field(
        default=False,
        metadata=key(
            Flag(),
            "the console has test results in KTAP (KUnit, kselftest): all planned results must come, and none fail",
        ),
    )
    tap: bool = field(
        default=False, metadata=key(Flag(), "the same in TAP, as programs other than the kernel print it")
    )

    ports: dict[str, Any] = field(
        factory=dict,
        metadata=key(
            ByName(Verdict()),
            "the last line that the guest writes to a named port of a virtio-console: its text, or a table with "
            "members of the JSON object in it",
        ),
    )
    unclaimed: str = field(
        default="any",
        metadata=key(
            Choice("any", "none"),
            "none: the guest accesses only ports and addresses that a device claims or allow lists; needs a trace",
        ),
    )
    allow: tuple[tuple[int, int], ...] = field(
        default=(),
        metadata=key(Many(Range(ADDRESSES)), "ports (below 0x10000) and addresses that the guest may access unclaimed"),
    )
    errors: str = field(
        default="any",
        metadata=key(
            Choice("any", "none"),
            "none: no request to a virtio device fails, and no device reports a problem; needs a trace",
        ),
    )
    reference: Path | None = field(
        default=None,
        metadata=key(
            File(),
            "a trace whose exits this run must have, in the same order on each vCPU (see vmtrace diff); needs a trace",
        ),
    )
    differ: tuple[str, ...] = field(
        default=(),
        metadata=key(
            Many(Choice(*COMPARED, "numbers")),
            "what may differ from the reference, besides times: columns, or numbers in lines of the console",
        ),
    )
    exits: ExitLimits | None = field(
        default=None, metadata=key(Table(ExitLimits), "how many exits the run may have, at most")
    )
    time: TimeLimits | None = field(
        default=None, metadata=key(Table(TimeLimits), "how long the run may take, at most, by the times of its trace")
    )

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.status is not None and self.exit and "debug-exit" not in self.exit:
            yield ("status",), "only debug-exit has a status, and exit does not allow debug-exit"
        if self.ktap and self.tap:
            yield ("tap",), "cannot be combined with ktap, which reads TAP's versions 13 and 14 too"
        if self.allow and self.unclaimed == "any":
            yield ("allow",), 'needs unclaimed = "none"'
        if self.differ and self.reference is None:
            yield ("differ",), "needs a reference"
        if set(self.differ) >= set(COMPARED):
            yield ("differ",), "leaves nothing to compare"

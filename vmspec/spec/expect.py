"""The table ``[expect]``: what a run must do to be a success."""

from collections.abc import Iterator

from attrs import field, frozen

from vmspec.schema.keypath import KeyPath
from vmspec.schema.pattern import Pattern
from vmspec.schema.value import Model, key
from vmspec.schema.values import Choice, Flag, Integer, Many, Text
from vmspec.trace.ends import ENDS


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
            "the console has test results in KTAP (KUnit, kselftest): all tests of its plan must come, and none fail",
        ),
    )
    tap: bool = field(
        default=False, metadata=key(Flag(), "the same in TAP, as programs print it that are not the kernel's")
    )

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.status is not None and self.exit and "debug-exit" not in self.exit:
            yield ("status",), "only debug-exit has a status, and exit does not allow debug-exit"
        if self.ktap and self.tap:
            yield ("tap",), "cannot be combined with ktap, which reads TAP's versions 13 and 14 too"

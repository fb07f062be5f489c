"""The table ``[expect]``: what a run must do to be a success."""

from collections.abc import Iterator

from attrs import field, frozen

from vmspec.schema.keypath import KeyPath
from vmspec.schema.value import Model, key
from vmspec.schema.values import Choice, Integer, Many, Text
from vmspec.trace.ends import ENDS


@frozen(eq=False, repr=False)
class Expect(Model):
    """What makes a run a success."""

    console: tuple[str, ...] = field(
        default=(), metadata=key(Many(Text()), "texts that must appear on the console, in this order")
    )
    absent: tuple[str, ...] = field(default=(), metadata=key(Many(Text()), "texts that must not appear on the console"))
    exit: tuple[str, ...] = field(
        default=(),
        metadata=key(
            Many(Choice(*ENDS)),
            "the ends that count as success; not given: reset, poweroff, halt, and debug-exit with status 0",
        ),
    )
    status: int | None = field(default=None, metadata=key(Integer(0, 255), "the status that a debug-exit must have"))

    def faults(self) -> Iterator[tuple[KeyPath, str]]:
        if self.status is not None and self.exit and "debug-exit" not in self.exit:
            yield ("status",), "only debug-exit has a status, and exit does not allow debug-exit"

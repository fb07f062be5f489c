"""The commands of gdb's ``monitor``: what only vmrun knows of the machine."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from runner.control.errors import ControlError
from runner.control.inspection.machine import counters, tree
from runner.control.inspection.tree import select, text
from runner.control.subject import Subject
from vmspec.host.printable import printable

HELP = """help            this list
inspect [PATH]  what is in the machine, as a tree, or the part at a path such as devices/serial0
exits           how many exits there were, by reason and by device
mark TEXT       put a mark into the trace, among the inputs
"""


class Monitor:
    """Does commands while the guest stands still."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def __call__(self, command: str) -> str:
        """Do a command; returns what to print."""
        verb, _, argument = command.strip().partition(" ")
        if (known := COMMANDS.get(verb)) is None:
            return f"there is no command {printable(verb)!r}; there are:\n{HELP}"
        try:
            return known(self, argument.strip())
        except ControlError as error:
            return f"{error}\n"

    def _help(self, argument: str) -> str:
        return HELP

    def _inspect(self, path: str) -> str:
        found, _ = select(tree(self._subject), path, _stands)
        return _lines(found)

    def _mark(self, note: str) -> str:
        inputs = self._subject.machine.inputs
        if not note:
            return "a mark needs a text\n"
        if inputs.keep is None:
            return "this run records no inputs: set trace.path, and trace.inputs = true\n"
        inputs.admit("mark", lambda: None, data=note.encode("utf-8", "replace"))
        return "marked\n"

    def _exits(self, argument: str) -> str:
        return _lines(counters(self._subject))


def _lines(found: object) -> str:
    return "".join(f"{printable(line)}\n" for line in text(found))


@contextmanager
def _stands() -> Iterator[None]:
    yield


COMMANDS: Mapping[str, Callable[[Monitor, str], str]] = {
    "help": Monitor._help,
    "inspect": Monitor._inspect,
    "exits": Monitor._exits,
    "mark": Monitor._mark,
}

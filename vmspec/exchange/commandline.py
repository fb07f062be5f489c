"""Command lines of other tools: the words of a file, or those given as they are; the tool's command among them."""

import re
from collections.abc import Iterable
from pathlib import Path

from vmspec.exchange import shell
from vmspec.exchange.shell import Command
from vmspec.exchange.tree import Node
from vmspec.schema.problems import Problem, SpecError

# What may stand before a program.
PREFIXES = frozenset(("sudo", "-E", "--", "exec", "time", "nohup", "command", "env"))


def of_text(text: str, file: Path | None, program: str, tool: str) -> Command:
    """The first command of a script whose program matches a pattern; without one, a text that is only options. Raises
    SpecError if there is neither."""
    found = [command for command in shell.commands(text, file) if command]
    for command in found:
        if after(command, program) is not None:
            return command
    if len(found) == 1 and found[0][0].text.startswith("-"):
        return found[0]
    raise SpecError((Problem("", f"has no command that runs {tool}").at(file, 1, 1),))


def after(command: Command, program: str) -> Command | None:
    """The words of a command after its program; None if it runs another one."""
    for index, word in enumerate(command):
        if re.fullmatch(program, word.text.rpartition("/")[2]):
            return command[index + 1 :]
        if word.text not in PREFIXES and "=" not in word.text:
            return None
    return None


def computed(words: Command) -> Iterable[Node]:
    """A node for each word that only a shell could complete."""
    for word in words:
        if word.unknown is not None:
            yield Node(word.text, word.unknown, place=word.place)


def commas(text: str) -> list[str]:
    """The parts of a text between commas; two commas are one that belongs to a part (QEMU, and lkvm without)."""
    found = re.findall(r"((?:[^,]|,,)*)(?:,|$)", text, re.DOTALL)
    return [part.replace(",,", ",") for part in (found[:-1] if len(found) > 1 else found)]

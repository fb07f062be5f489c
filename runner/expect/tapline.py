"""One line of TAP or KTAP.

TAP is that of testanything.org (versions 12 to 14), KTAP version 1 that of the kernel's
Documentation/dev-tools/ktap.rst. Their lines are alike: versions, plans, results, comments. The runner of the kernel's
selftests prints what a test prints, with "# " before each line: a level of its own.
"""

import re
from typing import NamedTuple

from runner.expect.cases import Outcome

# printk's level, time and caller (CONFIG_PRINTK_TIME, CONFIG_PRINTK_CALLER), each only if the kernel prints it.
_PRINTK = re.compile(r"(<\d{1,3}>)?\[ *\d+\.\d+\](\[ *[TC]\d+\])? ?", re.ASCII)
_VERSION = re.compile(r"K?TAP version \d+\s*$", re.ASCII)
_PLAN = re.compile(r"1\.\.(\d{1,9})(\s*#\s*(SKIP\S*)?(.*))?\s*$", re.ASCII | re.IGNORECASE)
_RESULT = re.compile(r"(not )?ok(\s+(\d{1,9}))?(\s+-)?(\s+(.*))?$", re.ASCII)
_DIRECTIVE = re.compile(r"(?:^|\s)#\s*(\w*)(.*)$")  # a # without space before it belongs to the name


class Level(NamedTuple):
    """Where a line begins: the number of # before it, and of characters."""

    hashes: int
    lead: int


class Version(NamedTuple):
    """A document begins."""


class Subtest(NamedTuple):
    """The name of the tests that follow, or that have just begun."""

    name: str


class Plan(NamedTuple):
    """The number of results; with ``skip`` why there are none."""

    tests: int
    skip: str | None


class Result(NamedTuple):
    """The result of a test, or of those before it on the next level."""

    number: int | None
    name: str
    outcome: Outcome
    detail: str


class Bail(NamedTuple):
    """The guest gave up its tests."""

    reason: str


class Comment(NamedTuple):
    """Text that is no part of the results."""

    text: str


Token = Version | Subtest | Plan | Result | Bail | Comment


def parsed(line: str, kernel: bool) -> tuple[Level, Token] | None:
    """The level and the meaning of a line; None: it has none. ``kernel``: the line is KTAP."""
    if kernel and (prefix := _PRINTK.match(line)):
        line = line[prefix.end() :]
    body = line.lstrip(" \t#")
    lead = line[: len(line) - len(body)]
    level = Level(lead.count("#"), len(lead))
    if level.hashes == 1 and body.startswith("Subtest: "):
        return Level(0, lead.index("#")), Subtest(body.removeprefix("Subtest: ").strip())
    if (token := _token(body, kernel)) is not None:
        return level, token
    return (level, Comment(body)) if level.hashes else None


def _token(body: str, kernel: bool) -> Token | None:
    if _VERSION.match(body):
        return Version()
    if body.startswith("Bail out!"):
        return Bail(body.removeprefix("Bail out!").strip())
    if found := _PLAN.match(body):
        return Plan(int(found[1]), None if found[2] is None else found[4].strip())
    found = _RESULT.match(body)
    if found is None or (kernel and found[3] is None):
        return None
    return _result(found[1] is None, None if found[3] is None else int(found[3]), found[6] or "")


def _result(ok: bool, number: int | None, text: str) -> Result:
    found = _DIRECTIVE.search(text)
    name = (text if found is None else text[: found.start()]).strip().replace(r"\#", "#")
    word, rest = ("", "") if found is None else (found[1].upper(), found[2].strip())
    outcome: Outcome = "passed" if ok else "failed"
    if word.startswith("SKIP"):
        outcome = "skipped"
    elif word in ("TODO", "XFAIL"):
        outcome = "passed" if ok else "xfail"
    elif word in ("TIMEOUT", "ERROR"):
        outcome, rest = "failed", f"{word} {rest}".strip()
    elif found is not None:  # no directive: it says something about the result
        rest = text[found.start() :].strip().removeprefix("#").strip()
    return Result(number, name, outcome, rest)

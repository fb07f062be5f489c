"""The file of a campaign as frozen attrs classes, read as specs are, so that each problem has a position."""

from pathlib import Path
from typing import Any

from attrs import field, frozen

from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.tables import Table
from vmspec.schema.toml_text import TomlText, contents
from vmspec.schema.value import Here, Model, TooManyProblemsError, key
from vmspec.schema.values import Choice, Duration, File, Integer, Many, Size
from vmspec.spec.matrix import MatrixTable

LARGEST = 1 << 20  # bytes of a campaign's file
REPEAT_MAX = 10_000_000


@frozen(eq=False, repr=False)
class Settings(Model):
    """What is run, how often, and what is kept."""

    specs: tuple[Path, ...] = field(metadata=key(Many(File()), "the specs; each with its own matrix"))
    repeat: int = field(default=1, metadata=key(Integer(1, REPEAT_MAX), "runs of each combination"))
    traces: str = field(
        default="failed",
        metadata=key(
            Choice("all", "failed", "every", "none"),
            "which traces are kept: all, of failed runs, of every N-th repetition (key every), or none, unrecorded",
        ),
    )
    every: int = field(default=100, metadata=key(Integer(1, REPEAT_MAX), 'with traces = "every": N'))
    disk: int | None = field(
        default=None, metadata=key(Size(1 << 20, 1 << 60), "the campaign stops before its folder is larger than this")
    )
    timeout: int = field(default=60 * 10**9, metadata=key(Duration(), "ends runs of specs without vm.timeout"))


@frozen(eq=False, repr=False)
class Campaign(Model):
    """A campaign: every combination of its axes for every spec, repeated."""

    campaign: Settings = field(metadata=key(Table(Settings), "what is run, how often, and what is kept"))
    axes: dict[str, tuple[Any, ...]] = field(
        factory=dict, metadata=key(MatrixTable(), "keys of the specs with several values each, as in a spec's [matrix]")
    )


def load(path: Path) -> Campaign:
    """The campaign of a file. Raises SpecError with every problem located, OSError."""
    text = TomlText(contents(path, LARGEST, "a campaign"), path)
    here = Here(path.absolute().parent)
    made: Campaign | None = None
    more: tuple[Problem, ...] = ()
    try:
        made = Table(Campaign).read(text.data, here)
    except TooManyProblemsError:
        more = (Problem("", f"has more problems than these {len(here.problems)}").at(path, 1, 1),)
    if made is None or here.problems:
        raise SpecError((*map(text.locate, here.problems), *more))
    return made

"""Mutation testing: ``python -m tests.mutants [GROUP...]``, as ``make mutants`` runs it.

mutmut changes the bodies of functions, one place at a time, and runs the tests that reach them: a change that no test
notices survives. Each group of groups.toml is run in a copy of the checkout under build/mutants, as mutmut makes files
beside what it mutates. survivors.toml has the survivors that change nothing that anybody could notice, each with why.
With ``--again`` a group that was run before goes on: only what survived, and the functions that have changed since, are
tried against the tests as they are now. ``--sample`` tries that many mutants of each group, the same ones each time as
long as the modules do not change.

The exit status is 1 where a group has less than 90 % killed, or a survivor that is not explained.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import IO, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COPIES = ROOT / "build" / "mutants"
KILLED = ("killed", "timeout", "segfault")
LEAST = 0.9  # of a group's mutants that tests must kill
# Changes that nobody could notice wherever they are made: what is changed, what it may become, and why.
SAME: tuple[tuple[re.Pattern[str], Callable[[str], Sequence[str]], str], ...] = (
    (
        re.compile(r'struct\.(?:pack|pack_into|unpack|unpack_from|calcsize)\("<[^"]*"'),
        lambda found: (found.lower(),),
        "a struct format with signs packs the same bytes for numbers that are in its range; others it rejects",
    ),
    (
        re.compile(r'(?<=code\()"[^"]+"'),
        lambda found: (found.upper(),),
        "Python knows an encoding by its name in capitals too",
    ),
    (
        re.compile(r"\bstrict=True(?:, )?"),
        lambda found: (found.replace("True", "None"), found.replace("True", "False"), ""),
        "the sequences are of one length, whatever is read; strict=True says so to the reader",
    ),
    (
        re.compile(r"\bstrict=False(?:, )?"),
        lambda found: (found.replace("False", "None"), ""),
        "zip() takes None for False, which is its default",
    ),
    (
        # uint64 is not among them: numbers of 2**63 and more have no type in common with those that have a sign.
        re.compile(r"(?<=, )(?:pa\.(?:u?int(?:8|16|32)|int64|utf8)\(\)|\w+\.indices\.type)(?=\))"),
        lambda found: ("None", ""),
        "pyarrow knows text by itself, and converts numbers to a type that all fit in; naming it saves that",
    ),
)
# A mutant that survives runs all the tests that reach it: the long ones, with all their generated inputs, would make a
# group take hours and kill next to nothing that the others do not.
QUICK = "not soak and not lab and not long"
# A mutant that loops for ever costs this many times what its tests take. On a busy machine a mutant can take that long
# because it waits for the processor, so what seemed to loop is tried once more with more patience.
LIMIT, PATIENT_LIMIT = 8.0, 24.0
SEED = 9  # of the samples
NONE = "none of them"  # mutmut makes the mutants and times the tests, and only then finds that no mutant has the name
COMMENT = re.compile(r"  # .*")
MUTMUT = [sys.executable, "-m", "mutmut"]


def main() -> int:
    groups = tomllib.loads((HERE / "groups.toml").read_text())
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("group", nargs="*", help=f"all by default: {', '.join(groups)}")
    parser.add_argument("--again", action="store_true", help="try only what survived the last run")
    parser.add_argument("--sample", type=int, metavar="N", help="try N mutants of each group, taken at random")
    parser.add_argument("--workers", type=int, metavar="N", help="try N at a time, one per processor by default")
    given = parser.parse_args()
    if unknown := [name for name in given.group if name not in groups]:
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(groups)}")
    run = Run(given.workers)
    names = given.group or list(groups)
    failed = [name for name in names if not passes(name, groups[name], run, given.again, given.sample)]
    return 1 if failed else 0


class Run(NamedTuple):
    """How mutants are tried: so many at a time, as many as there are processors by default."""

    workers: int | None

    def __call__(self, copy: Path, log: IO[str], *mutants: str) -> None:
        """Try what has no result yet, or these mutants."""
        options = [] if self.workers is None else ["--max-children", str(self.workers)]
        command = [*MUTMUT, "run", *options, *mutants]
        subprocess.run(command, cwd=copy, env=environment(), stdout=log, stderr=log, check=False)


def passes(name: str, group: dict[str, list[str]], run: Run, again: bool, sample: int | None) -> bool:
    """Run a group; print what survived."""
    copy = COPIES / name
    if not again:
        shutil.rmtree(copy, ignore_errors=True)
    copy_checkout(copy, group, PATIENT_LIMIT if again else LIMIT)
    print(f"{name}: {', '.join(group['modules'])}", flush=True)
    with (copy / "mutmut.log").open("w") as log:
        chosen: list[str] = []
        lived: list[str] = []
        if sample is not None:
            run(copy, log, NONE)
            every = states(copy)
            chosen = random.Random(SEED).sample(sorted(every), min(sample, len(every)))
            lived = [mutant for mutant in chosen if every[mutant] not in KILLED]
            print(f"  {len(chosen)} of {len(every)} mutants, taken at random", flush=True)
        if lived or sample is None:
            run(copy, log, *lived)
        found = states(copy, chosen)
        if not again and (late := [mutant for mutant, state in found.items() if state == "timeout"]):
            write_settings(copy, group, PATIENT_LIMIT)
            run(copy, log, *late)
        if again and sample is None and (lived := [name for name, state in found.items() if state not in KILLED]):
            run(copy, log, *lived)
    found = states(copy, chosen)
    if not found or "not checked" in found.values():
        print(f"  mutmut failed, see {copy / 'mutmut.log'}")
        return False
    lived = [mutant for mutant, state in found.items() if state not in KILLED]
    killed = len(found) - len(lived)
    unexplained = 0
    for mutant, (was, now) in differences(copy, lived).items():
        if (why := explained(mutant, was, now)) is None:
            unexplained += 1
            print(f"  {found[mutant]}: {mutant}\n    - {was}\n    + {now}")
        else:
            print(f"  explained: {mutant}: {why}")
    print(f"  {killed} of {len(found)} killed ({killed / len(found):.1%}), {unexplained} survivors not explained")
    return killed >= LEAST * len(found) and not unexplained


def states(copy: Path, chosen: Collection[str] = ()) -> dict[str, str]:
    """What became of each mutant, or of the chosen ones."""
    done = subprocess.run([*MUTMUT, "results", "--all", "true"], cwd=copy, capture_output=True, text=True, check=False)
    found = re.findall(r"^\s*(\S+): (.+)$", done.stdout, re.MULTILINE)
    return {mutant: state for mutant, state in found if not chosen or mutant in chosen}


def copy_checkout(copy: Path, group: dict[str, list[str]], limit: float) -> None:
    """The checkout as it is, with the built extension, and mutmut's settings."""
    for name in checkout():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
        # What mutmut has copied itself and does not mutate it never copies again: of the extension, an old build.
        if (kept := copy / "mutants" / name).exists() and kept.suffix != ".py":
            shutil.copy2(ROOT / name, kept)
    write_settings(copy, group, limit)


def checkout() -> list[str]:
    """The files of the checkout and the built extension."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    built = [str(path.relative_to(ROOT)) for path in (ROOT / "runner" / "native").glob("*.so")]
    return [name for name in [*os.fsdecode(listed.stdout).split("\0"), *built] if (ROOT / name).is_file()]


def write_settings(copy: Path, group: dict[str, list[str]], limit: float) -> None:
    """Write mutmut's settings behind the checkout's own."""
    # What is not among the packages is copied by mutmut, so that tests find all of it.
    others = sorted({Path(name).parts[0] for name in checkout()} - {"vmspec", "runner", "tracer"})
    settings = {
        "source_paths": ["vmspec", "runner", "tracer"],
        "only_mutate": group["modules"],
        "also_copy": others,
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--hypothesis-profile=mutants", "-m", QUICK],
        "pytest_add_cli_args_test_selection": group["tests"],
        "timeout_multiplier": limit,
    }
    lines = [f"{key} = {value!r}" for key, value in settings.items()]
    own = (ROOT / "pyproject.toml").read_text()
    (copy / "pyproject.toml").write_text(own + "\n[tool.mutmut]\n" + "\n".join(lines) + "\n")


def environment() -> dict[str, str]:
    """mutmut sets its own import path; bytecode of a mutant must not outlive it."""
    return os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}


# mutmut has a command for one difference, and takes seconds to start.
DIFFERENCES = """
import json, sys
from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant
print(json.dumps({name: get_diff_for_mutant(name, path=find_mutant(name).path) for name in json.load(sys.stdin)}))
"""


def differences(copy: Path, mutants: list[str]) -> dict[str, tuple[str, str]]:
    """The lines that each mutant changes, before and after, without their comments."""
    done = subprocess.run(
        [sys.executable, "-c", DIFFERENCES],
        cwd=copy, input=json.dumps(mutants), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {}
    for mutant, difference in json.loads(done.stdout.splitlines()[-1]).items():
        lines = [line for line in difference.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        was, now = (" ".join(COMMENT.sub("", line[1:]).strip() for line in lines if line[0] == sign) for sign in "-+")
        found[mutant] = was, now
    return found


def explained(mutant: str, was: str, now: str) -> str | None:
    """Why a survivor changes nothing that anybody could notice; None where nobody has said so."""
    for pattern, changed, why in SAME:
        for found in pattern.finditer(was):
            if any(was[: found.start()] + text + was[found.end() :] == now for text in changed(found[0])):
                return why
    for entry in tomllib.loads((HERE / "survivors.toml").read_text())["survivor"]:
        module = entry["module"].removesuffix(".py").replace("/", ".")
        if mutant.startswith(f"{module}.") and (entry["was"], entry["now"]) == (was, now):
            return str(entry["why"])
    return None


if __name__ == "__main__":
    sys.exit(main())

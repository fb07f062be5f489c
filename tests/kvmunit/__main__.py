"""``python -m tests.kvmunit TREE``: KVM's own unit tests with vmrun (docs/unit-tests.md)."""

import argparse
import json
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path

from tests.kvmunit import config, machine
from tests.kvmunit.config import ConfigError, Tree, UnitTest
from tests.kvmunit.running import VERDICTS, Qemu, Verdicted, Vmrun, line, record

WRONG = 2  # exit status: the tree or the command line cannot be used


def main(arguments: Sequence[str] | None = None, started: Callable[[str], object] = lambda name: None) -> int:
    """Run the command; return the exit status: 0 if no test failed. ``started`` is called with each test's name."""
    options = _parser().parse_args(arguments)
    try:
        tree = config.tree(options.tree.resolve())
        tests = _selected(tree, options.only, options.group)
        others = _others(options.compare)
    except (ConfigError, ValueError) as error:
        print(f"kvmunit: {error}", file=sys.stderr)
        return WRONG
    vmm = Qemu() if options.qemu else Vmrun(trace=options.trace)
    results = []
    try:
        with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as folder:
            for test in tests:
                started(test.name)
                result = _run(tree, test, Path(folder), vmm, options)
                results.append(result)
                print(line(result), flush=True)
                if options.json:
                    with options.json.open("a") as file:
                        file.write(record(result, vmm.name) + "\n")
    finally:
        vmm.close()
    counts = Counter(result.verdict for result in results)
    print(f"\n{vmm.name}: {', '.join(f'{counts[verdict]} {verdict}' for verdict in VERDICTS)}")
    for text in differences(results, others):
        print(text)
    return 1 if counts["fail"] or counts["timeout"] else 0


def differences(results: Sequence[Verdicted], others: dict[str, Verdicted]) -> list[str]:
    """A line for each test that ended otherwise elsewhere."""
    return [
        f"{result.name}: {result.verdict} ({result.reason}), there {other.verdict} ({other.reason})"
        for result in results
        if (other := others.get(result.name)) is not None and other.verdict != result.verdict
    ]


def _run(tree: Tree, test: UnitTest, folder: Path, vmm: Vmrun | Qemu, options: argparse.Namespace) -> Verdicted:
    if reason := machine.skipped(tree, test, manual=options.all or test.name in options.only):
        return Verdicted(test.name, "skip", 0.0, reason)
    if options.timeout is not None:
        test = test._replace(timeout=options.timeout or None)
    place = folder / test.name
    place.mkdir(parents=True, exist_ok=True)
    return vmm.run(tree, test, place, platform.release())


def _selected(tree: Tree, names: Sequence[str], group: str | None) -> list[UnitTest]:
    """The tests that match one of the names, all if there are none. Raises ValueError for a name without a test."""
    if lost := [name for name in names if not any(fnmatchcase(test.name, name) for test in tree.tests)]:
        raise ValueError(f"{tree.programs / 'unittests.cfg'} has no test {lost[0]}")
    return [
        test
        for test in tree.tests
        if (not names or any(fnmatchcase(test.name, name) for name in names))
        and (group is None or group in test.groups)
    ]


def _others(path: Path | None) -> dict[str, Verdicted]:
    """The results that a run left with --json, the last of each test. Raises ValueError."""
    if path is None:
        return {}
    found = {}
    try:
        for text in path.read_text().splitlines():
            values = json.loads(text)
            found[values["name"]] = Verdicted(*(values[field] for field in Verdicted._fields))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what --json writes: {error}") from None
    return found


def _time(text: str) -> float:
    try:
        return config.seconds(text) or 0.0
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.kvmunit", description=__doc__)
    parser.add_argument("tree", type=Path, metavar="TREE", help="the folder in which kvm-unit-tests has been built")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these tests; * stands for any text")
    parser.add_argument("--group", metavar="NAME", help="only the tests of a group")
    parser.add_argument("--all", action="store_true", help="also those that are to be run by hand (nodefault)")
    parser.add_argument("--timeout", type=_time, metavar="TIME", help="in the place of each test's own; 0: none")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep each test's spec and console in DIR/NAME")
    parser.add_argument("--trace", action="store_true", help="record the exits; with --keep they are in DIR/NAME too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add each result to FILE, as a line of JSON")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="list the tests that ended otherwise in FILE")
    parser.add_argument("--qemu", action="store_true", help="run them with QEMU in the place of vmrun")
    return parser


if __name__ == "__main__":
    sys.exit(main())

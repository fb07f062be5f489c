"""The machine of a unit test: QEMU's command line as the tree's own scripts make it, and the spec that says the same.

``vmspec import`` reads the command line. So what a test asks of QEMU is in the spec, or is named as what a spec cannot
have, which is then why the test is skipped.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

import vmspec
from tests.kvmunit import config, pctestdev
from tests.kvmunit.config import Tree, UnitTest
from vmspec.exchange import commented, shell
from vmspec.exchange.draft import Draft
from vmspec.exchange.qemu import reader
from vmspec.schema.problems import SpecError

PROGRAM = "qemu-system-x86_64"
EXIT = ("-device", "isa-debug-exit,iobase=0xf4,iosize=0x4")
COMMON = ("--no-reboot", "-nodefaults", *EXIT, "-display", "none", "-serial", "stdio", "-machine", "accel=kvm")
# What x86/run gives QEMU besides. A spec has pc-testdev as devices in Python, and no PIT that makes up for lost ticks.
QEMU_ONLY = ("-global", "kvm-pit.lost_tick_policy=discard", "-device", "pc-testdev", "-device", "pci-testdev")
PIT, CASCADE = 0, 2  # interrupt lines that are not a device's of the spec
SPEC, ENVIRONMENT = "test.toml", "environment"
# What programs need of a PC that no option of QEMU names, and vmrun's machine has not.
ABSENT = {"s3.flat": "it needs suspend to RAM (ACPI's S3), which vmrun's machine does not have"}


class SkippedError(Exception):
    """A test that is not run; the message says why."""


def skipped(tree: Tree, test: UnitTest, manual: bool) -> str:
    """Why a test is not to be run on this host, by its configuration (scripts/runtime.bash); "" if it is. ``manual``:
    tests that are only to be run by hand, too."""
    if test.unknown:
        return f"unittests.cfg has {', '.join(test.unknown)}, which the runner does not know"
    if "nodefault" in test.groups and not manual:
        return "to be run by hand: --all"
    if test.arch and test.arch != tree.arch:
        return f"{test.arch} only"
    if test.machine and test.machine not in ("pc", "q35"):
        return f"machine {test.machine} only"
    if test.accel and test.accel != "kvm":
        return f"{test.accel} only"
    if found := {"migration", "panic", "pv-host"}.intersection(test.groups):
        return f"it needs a second program beside the guest (group {found.pop()})"
    for path, wanted in test.check:
        try:
            has = Path(tree.folder, path).read_text().strip()
        except OSError:
            has = None
        if has != wanted:
            return f"{path} is not {wanted}"
    if (
        test.disabled_if
        and not subprocess.run(
            ["bash", "-c", test.disabled_if], cwd=tree.folder, capture_output=True, check=False
        ).returncode
    ):
        return f"disabled because {test.disabled_if}"
    if not test.file:
        return "unittests.cfg names no file"
    if not (tree.programs / test.file).is_file():
        return f"{test.file} has not been built"
    return ""


def words(tree: Tree, test: UnitTest) -> list[str]:
    """The words that a test adds to QEMU's command line, as a shell splits them: the parameters may have quotes and
    commands in them. Raises SkippedError."""
    given = f"-smp {test.smp} {f'-append {test.arguments}' if test.arguments else ''} {test.parameters}"
    command = ["bash", "-c", f"words=({given}); printf '%s\\0' \"${{words[@]}}\""]
    done = subprocess.run(command, cwd=tree.folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode or done.stderr:
        raise SkippedError(f"a shell cannot read its parameters: {done.stderr.decode(errors='replace').strip()}")
    return [word.decode(errors="surrogateescape") for word in done.stdout.split(b"\0")[:-1]]


def qemu(tree: Tree, test: UnitTest, folder: Path) -> list[str]:
    """QEMU's command line, for a folder that has the environment. Raises SkippedError."""
    module = ("-initrd", str(folder / ENVIRONMENT)) if tree.environment else ()
    return [PROGRAM, *COMMON, *QEMU_ONLY, "-kernel", str(tree.programs / test.file), *words(tree, test), *module]


def environment(tree: Tree, folder: Path, release: str) -> None:
    """Write the module with the variables for a host with this kernel into a folder, if the tests want one."""
    if tree.environment:
        (folder / ENVIRONMENT).write_text(config.environment(tree.errata, release))


def write(tree: Tree, test: UnitTest, folder: Path, release: str) -> Path:
    """Write the files of a test's machine into a folder: the spec, the environment, the device. Returns the spec's
    path. ``release`` is the host's kernel. Raises SkippedError, SpecError."""
    environment(tree, folder, release)
    shutil.copy(str(pctestdev.__file__), folder)
    made = spec(tree, test, words(tree, test))
    path = folder / SPEC
    path.write_text(tomli_w.dumps(made))
    return path


def spec(tree: Tree, test: UnitTest, added: Sequence[str]) -> dict[str, Any]:
    """The spec of a test whose words these are, as a table. Raises SkippedError, SpecError."""
    kernel = tree.programs / test.file
    command = [*COMMON, "-name", test.name, "-kernel", str(kernel), *added]
    draft = reader.of_words(shell.arguments(command))
    if draft.problems:
        raise SpecError(tuple(draft.problems))
    if reasons := [*_lacking(draft), *([ABSENT[test.file]] if test.file in ABSENT else [])]:
        raise SkippedError("; ".join(reasons))
    table = commented.table(draft)
    # QEMU puts the image's name before the command line.
    table["boot"]["cmdline"] = f"{kernel.name} {table['boot'].get('cmdline', '')}".strip()
    if tree.environment:
        table["boot"]["initrd"] = ENVIRONMENT
    table["vm"]["timeout"] = test.timeout or None
    if test.timeout is None:
        del table["vm"]["timeout"]
    table["device"] = [
        {**device, **({"input": "none"} if device["kind"] == "serial" else {})} for device in table["device"]
    ]
    table["device"] += [{"kind": "fw-cfg"}, *testdev(table)]
    return table


def testdev(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The devices of pctestdev.py, beside those of a spec."""
    device = pctestdev.__name__.rpartition(".")[2]
    used = {each.irq for each in vmspec.loads(tomli_w.dumps(table), Path("/")).devices} | {PIT, CASCADE}
    lines = [line for line in range(pctestdev.LINE_COUNT) if line not in used]
    return [
        {"kind": "python", "class": f"{device}:Latch", "port": [pctestdev.LATCH, pctestdev.LATCH_SIZE]},
        {"kind": "python", "class": f"{device}:Flush", "port": [pctestdev.FLUSH, pctestdev.FLUSH_SIZE]},
        {"kind": "python", "class": f"{device}:Memory", "mmio": [pctestdev.IOMEM, pctestdev.IOMEM_SIZE]},
        *({"kind": "python", "class": f"{device}:Line", "port": [pctestdev.LINES + n, 1], "irq": n} for n in lines),
    ]


def _lacking(draft: Draft) -> list[str]:
    """What of a command line a spec cannot have, but for the model of the processor: the tests find out what their
    processor has."""
    remarks = [remark for part in draft.parts for remark in part.remarks if remark.node is not None]
    return [f"{node.text}: {why}" for node, why in remarks if node is not None and node.label != "-cpu model"]

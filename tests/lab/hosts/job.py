"""The job that the lab runs, and its errors."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.guests import debian, initrd

LAB = Path(__file__).resolve().parents[1]
ROOT = LAB.parents[1]


TIMED_OUT, LAB_FAILED = 124, 125
PASSED = re.compile(r"PATH|HOME|TERM|VIRTUAL_ENV|LANG|VMRUN_[A-Z0-9_]+")  # environment variables


class LabError(Exception):
    """The lab itself, rather than the command in it, failed or took too long."""

    def __init__(self, explanation: str, status: int = LAB_FAILED) -> None:
        super().__init__(explanation)
        self.status = status


class NeverBegan(LabError):
    """The emulated host stood still before it began the command, which another one may therefore run."""


@dataclass(frozen=True)
class Job:
    """What to run, and where."""

    command: Sequence[str]
    smp: int
    memory: int  # MiB
    timeout: float  # seconds
    share: Path | None
    kernel: str
    take: Sequence[Path] = ()

    def archive(
        self, host: str, modules: Sequence[str], *, first: Sequence[str] = (), settings: Sequence[str] = (),
        terminal: bool,
    ) -> bytes:  # fmt: skip
        """The initramfs: init with the host's own part, the modules in loading order, the command and init's settings
        as shell scripts. ``first`` are lines of the command's script, ``settings`` those of the host."""
        entries = initrd.busybox((LAB / "init").read_bytes())
        entries["lab/host"] = initrd.regular((LAB / f"init-{host}").read_bytes())
        for number, (name, image) in enumerate(debian.modules(debian.kernel(self.kernel), modules).items()):
            entries[f"lab/modules/{number:02}-{name}.ko"] = initrd.regular(debian.unsigned(image))
        passed = {name: value for name, value in os.environ.items() if PASSED.fullmatch(name)}
        command = [
            *(f"export {name}={shlex.quote(value)}" for name, value in passed.items()),
            f"cd {shlex.quote(os.getcwd())} || exit {LAB_FAILED}",  # noqa: PTH109
            *first,
            f"exec {shlex.join(self.command)}",
        ]
        lines = [f"share={shlex.quote(str(self.share or ''))}", *settings]
        if terminal:
            size = os.get_terminal_size()
            lines.append(f"terminal='rows {size.lines} cols {size.columns}'")
        for name, text in {"command": command, "settings": lines}.items():
            entries[f"lab/{name}"] = initrd.regular("".join(f"{line}\n" for line in text).encode())
        return initrd.archive(entries)

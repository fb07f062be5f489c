"""vmrun's command lines, executed in this process: here, what vmrun imports takes longer than a small guest."""

import os
from pathlib import Path

from runner import cli

NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def vmrun(arguments: list[str], directory: Path, console: Path, log: Path) -> int:
    """Execute a command line in a directory, with the standard streams of a command of its own: no input, and what it
    prints in two files. Returns its exit status."""
    before, streams = Path.cwd(), [os.dup(number) for number in range(3)]
    os.chdir(directory)
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, console, NEW), (2, log, NEW)):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    try:
        return cli.main(arguments)
    finally:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(before)

"""A command's main() in a child whose standard streams are a terminal of some width, in some locale."""

import contextlib
import fcntl
import importlib
import os
import pty
import re
import struct
import sys
import termios

# What rich writes for bold, italic and the like: colours and styles only.
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(main, arguments, environment, width):
    """What it writes to the terminal, and its status. What it imports is imported here too, for the children to come:
    that takes longer than most commands."""
    imported, importing = os.pipe()
    process, terminal = pty.fork()
    if not process:
        status = 70
        try:
            before = set(sys.modules)
            os.environ.pop("COLUMNS", None)
            os.environ.update(environment)
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
            encoding = environment.get("PYTHONIOENCODING", "utf-8")
            sys.stdout, sys.stderr = (os.fdopen(fd, "w", encoding=encoding, closefd=False) for fd in (1, 2))
            try:
                status = main(arguments)
            except SystemExit as end:
                status = end.code
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(importing, " ".join(sys.modules.keys() - before).encode()[: 1 << 16])
        finally:
            os._exit(status)
    os.close(importing)
    data = b""
    with contextlib.suppress(OSError):  # how a terminal reports that all have closed it
        while piece := os.read(terminal, 1 << 16):
            data += piece
    os.close(terminal)
    with os.fdopen(imported) as names:
        for name in names.read().split():
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return data.replace(b"\r\n", b"\n"), os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

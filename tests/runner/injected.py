"""Runs ``vmrun``, its input a terminal of its own, with a signal at one of the lines that its main thread executes.

``python injected.py LINE SIGNAL TIMES REPORT ARGUMENT...``: LINE counts the lines of the project's code, and of what it
uses to clean up, each once, from the first import until the interpreter ends; no signal if it is 0 or more than a run
has. REPORT is a file that gets, when the signal is sent or else at the end, the number of lines so far, the place,
whether the guest had ended, and how many of the lines came before the guest.
"""

import contextlib
import fcntl
import os
import sys
import termios
import threading
from pathlib import Path

ROOM = Path(__file__).parents[2]
TRACED = (
    *(f"{ROOM}/{package}/" for package in ("vmspec", "runner", "tracer")),
    contextlib.__file__,
    threading.__file__,
)


class Injector:
    """Follows the main thread by ``sys.settrace``."""

    def __init__(self, line: int, number: int, times: int, report: str) -> None:
        self.line, self.number, self.times, self.report = line, number, times, report
        self.seen = set()
        self.before = 0  # lines until the guest's start
        self.ended = False  # the guest's end, as what follows it has begun

    def tell(self, place: str) -> None:
        descriptor = os.open(self.report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, f"{len(self.seen)}\n{place}\n{int(self.ended)}\n{self.before}\n".encode())
        os.close(descriptor)

    def calls(self, frame, event, argument):
        name = frame.f_code.co_filename
        if not name.startswith(TRACED):
            return None
        if name.endswith("runner/session/session.py"):
            match frame.f_code.co_name:
                case "_run_guest":
                    self.before = len(self.seen)
                case "_finish":
                    self.ended = True
        return self.lines

    def lines(self, frame, event, argument):
        if event == "line":
            self.reached(frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno)
        return self.lines

    def reached(self, *place) -> None:
        if place in self.seen:
            return
        self.seen.add(place)
        if len(self.seen) == self.line:
            sys.settrace(None)
            self.tell("{}:{}:{}".format(*place).removeprefix(f"{ROOM}/"))
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


line, number, times = map(int, sys.argv[1:4])
injector = Injector(line, number, times, sys.argv[4])
sys.argv = ["vmrun", *sys.argv[5:]]
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
import runner  # noqa: E402, F401 - before its own first line a signal is Python's

sys.settrace(injector.calls)
from runner.entry import main  # noqa: E402 - it is what is followed

try:
    sys.exit(main())
finally:
    if len(injector.seen) < line or line == 0:  # a run's lines are not quite the same each time
        injector.tell("end")

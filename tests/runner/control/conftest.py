"""A server without a machine: its verbs are the test's."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.control.errors import ControlError
from runner.control.names import Names
from runner.control.protocol import Request
from runner.control.server import Server
from runner.control.verbs import Verb
from runner.loop import Loop


class FakeVerbs:
    """``echo`` answers its arguments at once, ``wait`` once :attr:`go_on` is set, ``fail`` with an error."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun = threading.Event()
        self.performed = 0

    def find(self, request: Request) -> Verb:
        if request.verb not in ("echo", "wait", "fail"):
            raise ControlError("verb", "there is no such verb")
        return Verb(self.perform, waits=request.verb == "wait")

    def perform(self, request: Request) -> Any:
        self.performed += 1
        if request.verb == "fail":
            raise ControlError("state", "it cannot")
        if request.verb == "wait":
            self.begun.set()
            assert self.go_on.wait(60)
        return dict(request.arguments)


class Served:
    """A server named "guest" whose loop turns in a thread."""

    def __init__(self) -> None:
        self.verbs = FakeVerbs()
        self.loop = Loop()
        names = Names()
        greeting = {"protocol": 1, "vmrun": "0", "name": "guest", "pid": 1, "verbs": []}
        self.server = Server(names.claim("guest"), self.loop, greeting, self.verbs)  # type: ignore[arg-type]
        names.close()
        self._over = False
        self.turns = 0
        self._thread = threading.Thread(target=self._turn)
        self._thread.start()

    def _turn(self) -> None:
        while not self._over:
            self.loop.turn()
            self.turns += 1

    def end(self) -> None:
        """As at the end of a run."""
        if not self._over:
            self._over = True
            self.loop.wake()
            self._thread.join(60)
            assert not self._thread.is_alive()
            self.verbs.go_on.set()
            assert self.server.end()
            self.server.close({"event": "ended", "kind": "halt", "status": 0, "detail": ""})
            self.loop.close()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, descriptors: Callable[[], int]) -> Iterator[Served]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    before = descriptors(), threading.active_count()
    made = Served()
    yield made
    made.end()
    assert (descriptors(), threading.active_count()) == before
    assert list((tmp_path / "vmrun").iterdir()) == []

"""A host that tests make up, for the locks in bundles."""

import pytest

from tests.vmspec.lock.locks import LOCK
from vmspec.bundle import command
from vmspec.lock import command as locking


@pytest.fixture(autouse=True)
def host(monkeypatch):
    for module in (command, locking):
        monkeypatch.setattr(module, "facts", lambda cpu: LOCK.host)

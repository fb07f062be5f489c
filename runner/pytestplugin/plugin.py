"""The plugin: its setting, which files it collects, the fixture ``vm``. All else is imported at its first use."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runner.pytestplugin.machines import Machines

SPECS = "vmrun_specs"
USUAL = "test_*.toml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's settings."""
    what = f"patterns of the specs to collect as tests, of names or of paths below the root; default: {USUAL}"
    parser.addini(SPECS, what, "args", default=[USUAL])


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a spec that a pattern selects, or that the command line names."""
    if file_path.suffix != ".toml":
        return None
    named = parent.session.isinitpath(file_path)
    if not named and not any(file_path.match(pattern) for pattern in parent.config.getini(SPECS)):
        return None
    from runner.pytestplugin.items import SpecFile

    made: pytest.Collector = SpecFile.from_parent(parent, path=file_path)
    return made


@pytest.fixture
def vm(request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[Machines]":
    """Starts machines: ``vm.start("boot.toml")``. It ends those that still run when the test has ended."""
    from runner.pytestplugin.machines import Machines

    with Machines(request.path.parent, tmp_path) as machines:
        yield machines

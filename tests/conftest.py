"""Shared by all tests: the meaning of the markers, the Hypothesis profiles, and small flat guests."""

import os
import re
import signal
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, settings

settings.register_profile("default", max_examples=50, deadline=None)
settings.register_profile(
    "soak",
    max_examples=int(os.environ.get("VMRUN_EXAMPLES", "100000")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("mutants", max_examples=20, deadline=None, database=None, derandomize=True)
settings.load_profile("soak" if os.environ.get("VMRUN_SOAK") == "1" else "default")

# What started the tests in the background, or under nohup, has passed on that it ignores these.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# What is printed is as wide as a pipe takes it, whatever the shell, or pytest-xdist in its workers, has set.
os.environ.pop("COLUMNS", None)

KVM = "/dev/kvm"
BROWSER = ("/usr/bin/chromium", "/usr/bin/chromedriver")


def missing_kvm() -> str | None:
    """Why the host's KVM cannot be used, None where it can."""
    try:
        os.close(os.open(KVM, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{KVM} cannot be opened: {error.strerror}"
    return None


def missing_browser() -> str | None:
    """What of the browser is not installed, None where it is all there."""
    missing = [path for path in BROWSER if not Path(path).exists()]
    return f"{' and '.join(missing)} missing (Debian: chromium, chromium-driver)" if missing else None


NEEDS = {"kvm": (missing_kvm, "VMRUN_REQUIRE_KVM"), "browser": (missing_browser, "VMRUN_REQUIRE_BROWSER")}


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "lab" in getattr(item, "fixturenames", ()) and item.get_closest_marker("stay") is None:
        pytest.fail("a file that uses the fixture lab must name its stay: pytest.mark.stay(name)", pytrace=False)
    for marker, (missing, demand) in NEEDS.items():
        if item.get_closest_marker(marker) is None or (reason := missing()) is None:
            continue
        if os.environ.get(demand) == "1":
            pytest.fail(f"{reason}, and {demand}=1 demands it", pytrace=False)
        pytest.skip(reason)


STAY = re.compile(r'^pytestmark = .*pytest\.mark\.stay\("(\w+)"\)', re.MULTILINE)


def runs_everything(config: pytest.Config) -> bool:
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.getoption("lf", False)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """What a worker of pytest-xdist cannot see for itself: it is always given paths."""
    node.workerinput["everything"] = runs_everything(node.config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With --dist loadscope the tests of a file stay together, for its fixtures' sake, and those of a stay do."""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    @cache
    def unit(path: str) -> str:
        # Only the workers import the file.
        stay = STAY.search((config.rootpath / path).read_text())
        return stay[1] if stay else path

    class Units(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid.partition("::")[0])

    return Units(config, log)


class Silent(pytest.Item):
    """Fails for a test file that gave no test: such a file would pass for ever."""

    def runtest(self) -> None:
        pytest.fail("no test was collected from this file", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let a worker begin with the stays, which take longest. Let a run of everything miss no test file."""
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is not None:
        items.sort(key=lambda item: item.get_closest_marker("stay") is None)
    if not (runs_everything(config) if worker is None else worker["everything"]):
        return
    collected = {item.path for item in items}
    for path in sorted(Path(__file__).parent.rglob("test_*.py")):
        if path not in collected:
            nodeid = f"{path.relative_to(config.rootpath)}::silent"
            items.append(Silent.from_parent(session, name="silent", nodeid=nodeid))


@pytest.fixture(scope="session", autouse=True)
def _own_runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The sockets of machines that tests run are not among the user's."""
    os.environ["XDG_RUNTIME_DIR"] = str(tmp_path_factory.mktemp("runtime"))


@pytest.fixture
def descriptors() -> Callable[[], int]:
    """Counts this process's open file descriptors."""
    return lambda: len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(scope="session")
def assemble(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Machine code from assembler text (GNU as, AT&T syntax), put together for the address ``origin``."""
    directory = tmp_path_factory.mktemp("assembled")

    @cache
    def assembled(source: str, bits: int = 16, origin: int = 0x1000) -> bytes:
        listing, elf, flat = directory / "guest.s", directory / "guest.elf", directory / "guest.bin"
        listing.write_text(f".code{bits}\n.globl _start\n_start:\n{source}\n")
        subprocess.run(["as", "-o", f"{elf}.o", listing], check=True)
        subprocess.run(["ld", f"-Ttext={origin:#x}", "-o", elf, f"{elf}.o"], check=True)
        subprocess.run(["objcopy", "-O", "binary", "-j", ".text", elf, flat], check=True)
        return flat.read_bytes()

    return assembled


@pytest.fixture
def write_spec(tmp_path: Path) -> Callable[..., Path]:
    """Writes the spec of a flat guest and returns its path.

    ``code`` is bytes or hexadecimal text; the tables given by name are merged over those of a 1 MiB real-mode guest
    that is ended after 20 s and recorded into guest.arrow (``trace=None``: not recorded); ``files`` are written beside
    it.
    """

    def write(
        code: bytes | str,
        *,
        devices: list[dict[str, Any]] | None = None,
        files: dict[str, str] | None = None,
        trace: dict[str, Any] | None = {},  # noqa: B006 (never changed)
        **tables: dict[str, Any],
    ) -> Path:
        vm = {"name": "guest", "memory": "1MiB", "timeout": "20s"}
        boot = {"mode": "real", "code": code if isinstance(code, str) else code.hex(" ")}
        spec: dict[str, Any] = {
            **tables,
            "vm": vm | tables.get("vm", {}),
            "boot": boot | tables.get("boot", {}),
            "device": devices or [],
        }
        if trace is not None:
            spec["trace"] = {"path": "guest.arrow"} | trace
        for name, text in (files or {}).items():
            (tmp_path / name).write_text(text)
        path = tmp_path / "guest.toml"
        path.write_text(tomli_w.dumps(spec))
        return path

    return write


@pytest.fixture
def run_guest(write_spec: Callable[..., Path]) -> Callable[..., Any]:
    """Writes the spec of a flat guest as ``write_spec`` does and runs it; returns the ``runner.Result``.

    ``input`` and ``output`` are descriptors, as for ``runner.run``.
    """

    def run(code: bytes | str, *, input: int | None = None, output: int | None = None, **spec: Any) -> Any:
        from runner.session.session import run

        return run(write_spec(code, **spec), input=input, output=output)

    return run


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs of vmrun in the lab; those that belong together are made in one stay there. See tests/lab/labruns.py."""
    from tests.lab.labruns import Lab

    return Lab(tmp_path_factory.mktemp("lab"))

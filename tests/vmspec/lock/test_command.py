"""``vmspec lock``, on a host that tests make up."""

import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from attrs import evolve

from tests.vmspec.lock.locks import LOCK
from vmspec.cli import main
from vmspec.lock import command, host
from vmspec.schema.tables import write_model

ROOT = Path(__file__).parents[3]
SPEC = '[vm]\nname = "x"\nmemory = "1MiB"\n[boot]\nkernel = "k"\nmode = "real"\n'
HOST = LOCK.host
GONE = "a gone host"


def facts(cpu):
    return write_model(HOST)


def failing(cpu):
    raise OSError(2, "KVM is not there")


@pytest.fixture
def provider(monkeypatch):
    """Sets which function of this module tells the host's facts; none with ""."""

    def provide(name):
        module = "tests.vmspec.lock.test_command"
        points = EntryPoints([EntryPoint("kvm", f"{module}:{name}", host.GROUP)] if name else [])
        monkeypatch.setattr(host, "entry_points", lambda group: points.select(group=group))

    provide("facts")
    return provide


@pytest.fixture
def spec(tmp_path, monkeypatch, provider):
    monkeypatch.chdir(tmp_path)
    Path("x.toml").write_text(SPEC)
    Path("k").write_bytes(b"\xf4")
    return Path("x.toml")


def run(capsys, *arguments):
    status = main(["lock", *map(str, arguments)])
    output = capsys.readouterr()
    return status, output.out, output.err


def test_a_lock_is_written_once_and_then_up_to_date(spec, capsys):
    assert run(capsys, spec) == (0, "x.toml.lock: 1 image, 2 leaves of CPUID\n", "")
    text = Path("x.toml.lock").read_text()
    assert tomllib.loads(text)["host"]["info"] == {"kernel": "6.1.0-30-amd64", "processor": "A processor"}
    for arguments in ((), ("--check",)):
        assert run(capsys, *arguments, spec) == (0, "x.toml.lock: is up to date\n", "")
    assert run(capsys, "--diff", spec) == (0, "", "")
    assert Path("x.toml.lock").read_text() == text


def test_a_lock_that_differs_is_not_overwritten_but_with_update(spec, capsys):
    run(capsys, spec)
    before = Path("x.toml.lock").read_bytes()
    status, out, err = run(capsys, spec, "--set", "vm.memory=2MiB")
    assert (status, Path("x.toml.lock").read_bytes()) == (1, before)
    assert 'spec.vm.memory: was "1MiB", is "2MiB"; must be the same\n' in out
    assert err == "vmspec: x.toml.lock is unchanged; to replace it: vmspec lock --update x.toml\n"
    assert run(capsys, spec, "--set", "vm.memory=2MiB", "--update")[0] == 0
    assert run(capsys, spec, "--set", "vm.memory=2MiB", "--check")[0] == 0
    assert run(capsys, spec, "--check")[0] == 1


def test_check_says_what_has_changed_and_where(spec, capsys):
    run(capsys, spec)
    Path("k").write_bytes(b"\x90\xf4")
    status, out, err = run(capsys, "--check", spec)
    line = Path("x.toml.lock").read_text().splitlines().index("[images.kernel]") + 1
    first, last = out.splitlines()
    assert first.startswith(f"x.toml.lock:{line}:9: images.kernel: was 1 byte, sha256 ")
    assert (status, last, err) == (1, "x.toml.lock: differs: 1 must be the same", "")


@pytest.mark.parametrize(
    ("table", "weight"), [("may", "may change a boot"), ("info", "for information only")], ids=["may", "info"]
)
def test_what_need_not_be_the_same_is_told_and_is_status_0(spec, capsys, monkeypatch, table, weight):
    run(capsys, spec)
    before = Path("x.toml.lock").read_bytes()
    changed = evolve(HOST.may, tsc_khz=1) if table == "may" else evolve(HOST.info, kernel="7.0")
    monkeypatch.setitem(globals(), "HOST", evolve(HOST, **{table: changed}))
    status, out, _ = run(capsys, "--check", spec)
    assert (status, out.splitlines()[-1]) == (0, f"x.toml.lock: differs: 1 {weight}")
    assert run(capsys, "--diff", spec)[0] == 1
    assert (run(capsys, spec)[0], Path("x.toml.lock").read_bytes()) == (1, before)


def test_diff_prints_old_and_new_whole(spec, capsys):
    run(capsys, spec)
    status, out, _ = run(capsys, "--diff", "--set", "vm.timeout=5s", "--set", f'expect.console=["{"a" * 300}"]', spec)
    assert status == 1
    assert out == (
        f'spec.vm.timeout (must be the same)\n+ "5s"\nspec.expect.console (must be the same)\n- []\n+ ["{"a" * 300}"]\n'
    )


def test_what_is_printed_cannot_act_on_a_terminal(spec, capsys):
    run(capsys, spec)
    _, out, _ = run(capsys, "--diff", "--set", r'expect.console=["\u001b[2J\u202e"]', spec)
    assert "\\u001b" in out
    assert [char for char in out if not char.isprintable() and char != "\n"] == []


def test_a_lock_that_is_wrong_is_status_2_and_update_replaces_it(spec, capsys):
    Path("x.toml.lock").write_text("<<<<<<< HEAD\n")
    for arguments in ((), ("--check",), ("--diff",)):
        status, out, err = run(capsys, *arguments, spec)
        assert (status, out, err.startswith("x.toml.lock:1:1: is not TOML")) == (2, "", True)
    assert run(capsys, "--update", spec)[0] == 0
    assert run(capsys, "--check", spec)[0] == 0


def test_without_a_lock_there_is_nothing_to_compare(spec, capsys):
    for option in ("--check", "--diff"):
        assert run(capsys, option, spec) == (
            2,
            "",
            "x.toml.lock: there is no lock; to write it: vmspec lock x.toml\n",
        )


def test_a_directory_in_its_place(spec, capsys):
    Path("x.toml.lock").mkdir()
    assert run(capsys, spec) == (2, "", "x.toml.lock: cannot be read: Is a directory\n")
    status, out, err = run(capsys, "--update", spec)
    assert (status, out, err.startswith("vmspec: ")) == (2, "", True)
    assert {path.name for path in Path().iterdir()} == {"x.toml", "k", "x.toml.lock"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "no installed package reports them (entry points vmspec.host): install vmrun"),
        ("failing", "[Errno 2] KVM is not there"),
        ("missing", "has no attribute 'missing'"),
        ("GONE", "'str' object is not callable"),
        ("str", "has no attribute 'str'"),
        ("repr_of", "returned what no lock has: must be a table"),
    ],
)
def test_a_host_that_cannot_be_asked_is_status_3(spec, capsys, provider, name, problem):
    provider(name)
    status, out, err = run(capsys, spec)
    assert (status, out, problem in err, err.count("\n")) == (3, "", True, 1)
    assert not Path("x.toml.lock").exists()


def repr_of(cpu):
    return repr(cpu)


def test_the_spec_comes_first(spec, capsys, provider):
    provider("failing")
    spec.write_text("[vm]\n")
    assert run(capsys, spec)[0] == 2


def test_the_package_declares_who_tells_the_hosts_facts():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][host.GROUP]
    assert declared == {"kvm": "runner.session.hostfacts:facts"}


def test_hashing_shows_its_progress_on_a_terminal_only(spec, capsys, monkeypatch):
    monkeypatch.setattr(command, "LONG", 0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    status, out, err = run(capsys, spec)
    assert (status, out, "hashing" in err) == (0, "x.toml.lock: 1 image, 2 leaves of CPUID\n", True)

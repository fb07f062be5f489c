"""The selftests of Debian's kernel source run in the lab by the kernel's own runner: vmrun reads what they print."""

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guests import debian, initrd
from tests.lab.labruns import HERE, stayed

pytestmark = [pytest.mark.lab, pytest.mark.soak]

SOURCE = "linux-source-6.1"
SELFTESTS = f"{SOURCE}/tools/testing/selftests"
VMRUN = Path(sys.executable).with_name("vmrun")
FREE = ("-ffreestanding", "-nostartfiles")
# A program a test: how it is compiled, and the names of test cases of its own, in the form that its source prints.
PROGRAMS = {
    "size:get_size": FREE,
    "sigaltstack:sas": (),
    "core:close_range_test": (),
    "membarrier:membarrier_test_single_thread": (),
    "timers:nanosleep": (),
}
SCRIPT = 'cd "$0"; for spec in passes fails; do "$1" $spec.toml >$spec.console 2>$spec.log; echo $? >$spec.status; done'


def selftests(out: Path) -> dict[str, initrd.Entry]:
    """The runner, the programs, and the list of them, as `make -C tools/testing/selftests install` lays them out."""
    wanted = ["kselftest*", "run_kselftest.sh", "clone3/*.h", *(f"{test.partition(':')[0]}/*" for test in PROGRAMS)]
    unpack = ["tar", "-xJf", debian.files(SOURCE) / "usr/src" / f"{SOURCE}.tar.xz", "-C", out, "--wildcards"]
    subprocess.run([*unpack, *(f"{SELFTESTS}/{pattern}" for pattern in wanted)], check=True)
    tree = out / SELFTESTS
    files = {name: tree / name for name in ("run_kselftest.sh", "kselftest/runner.sh")}
    for test, options in PROGRAMS.items():
        name = test.replace(":", "/")
        compiler = ["cc", "-static", "-O2", "-w", "-D_GNU_SOURCE", f"-I{tree}", *options]
        subprocess.run([*compiler, "-o", out / "program", tree / f"{name}.c", "-lpthread"], check=True)
        files[name] = Path(shutil.move(out / "program", tree / name))
    entries = {f"kselftest/{name}": initrd.executable(file.read_bytes()) for name, file in files.items()}
    return entries | {"kselftest/kselftest-list.txt": initrd.regular("".join(f"{t}\n" for t in PROGRAMS).encode())}


@pytest.fixture(scope="module")
def stay(tmp_path_factory):
    out = tmp_path_factory.mktemp("kselftest")
    kernel = debian.kernel("6.1-cloud")
    entries = initrd.busybox((HERE / "kselftest-init").read_bytes()) | selftests(out)
    (out / "initrd").write_bytes(gzip.compress(initrd.archive(entries), 1, mtime=0))
    spec = (HERE / "kselftest.toml").read_text()
    spec = re.sub(r"(?m)^kernel = .*$", f'kernel = "{kernel.bzimage}"', spec)
    spec = re.sub(r"(?m)^initrd = .*$", 'initrd = "initrd"', spec)
    (out / "passes.toml").write_text(spec)
    # The runner fails a test that it does not find.
    (out / "fails.toml").write_text(spec.replace("quiet", "quiet vmrun.tests=size:get_size,size:absent"))
    lab = ["--timeout", "15m", "--share", out, "--", "sh", "-c", SCRIPT, out, VMRUN]
    stayed(*lab)
    return out


def test_every_test_passes(stay):
    log = (stay / "passes.log").read_text()
    assert (stay / "passes.status").read_text() == "0\n", log + (stay / "passes.console").read_text()
    console = (stay / "passes.console").read_text()
    # As the guest prints them: those of the tests themselves stand after "# ".
    results = re.findall(r"^(?:# )?(not ok|ok) \d+(.*?)\r?$", console, re.MULTILINE)
    assert all(result == "ok" for result, _ in results)
    programs = [text for _, text in results if text.startswith(" selftests: ")]
    assert len(programs) == len(PROGRAMS)
    # A program is a case of its own only where it printed none: each printed some.
    skipped = sum("# SKIP" in text for _, text in results)
    cases = len(results) - len(programs)
    assert f"{cases} test cases: {cases - skipped} passed, {skipped} skipped" in log
    assert (cases, skipped) > (20, 0)


def test_a_test_that_fails_is_named(stay):
    log = (stay / "fails.log").read_text()
    assert (stay / "fails.status").read_text() == "1\n", log
    assert "2 test cases: 1 passed, 1 failed" in log
    assert "expected test case 'selftests: size: absent' to pass" in log

"""JUnit XML: it is what the common schema says, whatever a guest prints and whatever a file is called."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from runner.expect.cases import Case as GuestCase
from runner.expect.unmet import Unmet
from runner.machine.result import Result
from runner.suite import junit
from runner.suite.collect import Case
from runner.suite.summary import Tally
from runner.suite.verdict import Report
from runner.workers.task import Outcome

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


def outcome(status, console=b"", error="", unmet=(), cases=()):
    result = None if error else Result("halt", status, "", console, None, {}, 0.1, unmet=unmet, cases=cases)
    return Outcome(status, result, error, 0.0, 0.25)


def tally(*reports):
    made = Tally([report.case for report in reports], 1_800_000_000.5)
    made.seconds = 1234.5678
    for report in reports:
        made.add(report)
    return made


def written(path, *reports):
    junit.write(tally(*reports), path)
    SCHEMA.validate(path)
    return ET.parse(path).getroot()


UNMET = Unmet("expect.exit", "the end reset", "the guest ended with halt")


def test_every_verdict_is_valid(tmp_path):
    case = Case("specs/boot[vm.vcpus=2]", Path("specs/boot.toml"), ("vm.vcpus=2",))
    root = written(
        tmp_path / "out.xml",
        Report(case, (outcome(0, b"login:"),)),
        Report(case, (outcome(1, b"\x1b[2J", unmet=(UNMET,)),), folder=Path("/kept")),
        Report(case, (outcome(0), outcome(1, unmet=(UNMET,))), parting=("they part",)),
        Report(case, (outcome(3, error="no KVM"),)),
        Report(case._replace(skip="not today")),
        Report(case._replace(broken="a.toml:1:1: wrong\nmore")),
    )
    (suite,) = root
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time", "timestamp")] == [
        "6", "2", "2", "1", "1234.568", "2027-01-15T08:00:00+00:00",
    ]  # fmt: skip
    assert {(one.get("classname"), one.get("name")) for one in suite} == {("specs", "boot[vm.vcpus=2]")}
    found = [
        (child.tag, child.get("type"), child.get("message")) for one in suite for child in one if child.get("type")
    ]
    assert found == [
        ("failure", "failed", f"expectation failed: {UNMET}"),
        ("failure", "flaky", "flaky, 1 of 2 runs failed"),
        ("error", "error", "no KVM"),
        ("skipped", "vmrun", "not today"),
        ("error", "error", "a.toml:1:1: wrong"),
    ]
    assert suite[1].findtext("system-out") == "\N{REPLACEMENT CHARACTER}[2J"
    assert suite[1].findtext("system-err") == "again: vmrun specs/boot.toml --set vm.vcpus=2\nits files: /kept"
    assert suite[2].findtext("failure") == f"expectation failed: {UNMET}\nthey part"


def test_the_cases_of_a_guest_follow_the_case_of_its_spec(tmp_path):
    cases = (
        GuestCase(("suite",), "good", "passed"),
        GuestCase(("suite", "in"), "bad\x1b", "failed", "exit=1", "why\n\x00"),
        GuestCase((), "none", "skipped", "no device"),
        GuestCase((), "known", "xfail", "later"),
    )
    runs = (outcome(0, cases=cases[:1]), outcome(1, unmet=(UNMET,), cases=cases))
    (suite,) = written(tmp_path / "out.xml", Report(Case("specs/boot", Path("specs/boot.toml")), runs))
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["5", "2", "0", "2"]
    found = [
        (one.get("classname"), one.get("name"), [(child.tag, child.get("message"), child.text) for child in one])
        for one in suite
    ]
    assert found[1:] == [
        ("specs.boot.suite", "good", []),
        ("specs.boot.suite.in", "bad\N{REPLACEMENT CHARACTER}",
         [("failure", "exit=1", "why\n\N{REPLACEMENT CHARACTER}")]),
        ("specs.boot", "none", [("skipped", "no device", None)]),
        ("specs.boot", "known", [("skipped", "later", None)]),
    ]  # fmt: skip


PYTESTS = """
import pytest
def test_good(): pass
def test_none(): pytest.skip("no device")
@pytest.mark.xfail(reason="later")
def test_known(): assert 0
def test_bad(): print("login:"); assert 0
@pytest.fixture
def host(): raise OSError("no KVM")
def test_broken(host): pass
"""
# What junit-10.xsd allows, pytest omits, and other readers show.
MORE = {"testsuites": {"tests", "failures", "errors", "time"}, "failure": {"type"}, "error": {"type"}}


def reading(root):
    """What a reader finds: each element's attributes, the counts, and each case with the parts that tell of it."""
    attributes = {}
    for element in root.iter():
        attributes.setdefault(element.tag, set()).update({*element.keys()} - MORE.get(element.tag, set()))
    (suite,) = root
    counts = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
    cases = [(case.get("name").removeprefix("test_"), [child.tag for child in case]) for case in suite]
    return attributes, counts, cases


def test_it_reads_as_what_pytest_writes_of_the_same_outcomes(tmp_path):
    (tmp_path / "test_boot.py").write_text(PYTESTS)
    plain = ["-q", "-c", "/dev/null", "--rootdir", ".", "-p", "no:cacheprovider", "-p", "no:vmrun", "-p", "no:xdist"]
    junit_options = ["-o", "junit_family=xunit2", "--junitxml", "theirs.xml"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", *plain, *junit_options]
    subprocess.run(command, cwd=tmp_path, check=False, stdout=subprocess.DEVNULL, env=environment)
    SCHEMA.validate(tmp_path / "theirs.xml")
    of_guest = GuestCase((), "none", "skipped", "no device"), GuestCase((), "known", "xfail", "later")
    ours = written(
        tmp_path / "ours.xml",
        Report(Case("specs/good", Path("good.toml")), (outcome(0, cases=of_guest),)),
        Report(Case("specs/bad", Path("bad.toml")), (outcome(1, unmet=(UNMET,)),)),
        Report(Case("specs/broken", Path("broken.toml")), (outcome(3, error="no KVM"),)),
    )
    for output in ours.iter("testcase"):  # the commands to run it again, which no test of pytest's has
        for child in output.findall("system-err"):
            output.remove(child)
    assert reading(ours) == reading(ET.parse(tmp_path / "theirs.xml").getroot())


def test_the_schema_rejects_what_is_wrong(tmp_path):
    root = junit.document(tally(Report(Case("a", Path("a.toml")), (outcome(0),))))
    del root[0][0].attrib["name"]
    with pytest.raises(xmlschema.XMLSchemaValidationError, match="name"):
        SCHEMA.validate(root)


@given(st.text(min_size=1), st.binary(), st.text())
def test_any_console_any_name_and_any_message_is_valid(tmp_path_factory, name, console, said):
    case = Case(name, Path("a.toml"))
    bad = outcome(1, console, unmet=(Unmet("expect.console[0]", said, said),))
    written(tmp_path_factory.getbasetemp() / "any.xml", Report(case, (bad,)), Report(case._replace(skip=said or "x")))

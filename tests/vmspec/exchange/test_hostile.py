"""Whatever a configuration holds, a reader makes a spec that is TOML, or raises SpecError."""

import tomllib
from contextlib import suppress
from importlib import import_module
from textwrap import dedent

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.vmspec.exchange.cases import CASES
from vmspec.exchange import READERS, commented
from vmspec.exchange.importing import check
from vmspec.exchange.shell import arguments
from vmspec.schema.problems import SpecError

pytestmark = pytest.mark.long


def made(tool: str, text: str) -> None:
    try:
        draft = import_module(READERS[tool]).of_text(text, None)
        written = commented.text(draft)
        table = commented.table(draft)
        check(draft)
    except SpecError:
        return
    assert tomllib.loads(written) == table


@st.composite
def mutated(draw: st.DrawFn, tool: str) -> str:
    """One of the configurations, with parts removed, repeated, exchanged or replaced."""
    text = dedent(draw(st.sampled_from(CASES[tool])).text)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 20)))
        pieces = ["", text[start:end] * 2, "0", "-1", "none", "9" * 20, "é", *",='\"$\0<[{]}"]
        inserted = draw(st.sampled_from(pieces) | st.text(max_size=4))
        text = text[:start] + inserted + text[end:]
    return text


@pytest.mark.parametrize("tool", READERS)
@settings(max_examples=40)
@given(data=st.data())
def test_changed_configurations(tool, data):
    made(tool, data.draw(mutated(tool)))


@pytest.mark.parametrize("tool", READERS)
@settings(max_examples=20)
@example("")
@example("'")
@example('"')
@example("\n\n")
@given(st.text())
def test_any_text(tool, text):
    made(tool, text)


@pytest.mark.parametrize("tool", [tool for tool in READERS if hasattr(import_module(READERS[tool]), "of_words")])
@settings(max_examples=20)
@given(
    st.lists(
        st.sampled_from(["-device", "-m", "-drive", "-netdev", "--disk", "-", "--", "run", ""]) | st.text(), max_size=6
    )
)
def test_any_words(tool, words):
    with suppress(SpecError):
        check(import_module(READERS[tool]).of_words(arguments(words)))


BOMB = """<!DOCTYPE domain [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<domain type="kvm"><name>&b;</name></domain>"""
FILE = '<!DOCTYPE domain [<!ENTITY a SYSTEM "file:///etc/passwd">]><domain><name>&a;</name></domain>'


@pytest.mark.parametrize(
    ("tool", "text", "problem"),
    [
        ("libvirt", BOMB, r"^1:18: has a document type"),
        ("libvirt", FILE, r"^1:18: has a document type"),
        ("libvirt", "<domain>\n <name>x</domain>", r"^2:11: is not XML: mismatched tag"),
        ("libvirt", "<domain>" + "<a>" * 100_000, r"^1:\d+: is nested too deep"),
        ("libvirt", "<domain>" + "x\n" * 50_000 + "<b>", r"is not XML: no element found|unclosed token"),
        ("cloud-hypervisor", "cloud-hypervisor --cpus boot=x," + "[" * 100_000, r"^1:18: --cpus boot: vm.vcpus"),
        ("libvirt", "<domain><memory unit='0MiB'>1</memory></domain>", r"^1:9: memory: is not a size"),
        ("libvirt", "<network/>", r"^1:1: has no <domain>"),
        ("libvirt", '<?xml version="1.0" encoding="no-such"?><domain/>', r"is not XML"),
        ("firecracker", '{"boot-source": {\n"kernel_image_path": }}', r"^2:22: is not JSON: Expecting value"),
        ("firecracker", "[" * 100_000, r"^1:1: is not JSON|nested too deep"),
        ("firecracker", '{"a": ' * 200 + "1" + "}" * 200, r"nested too deep"),
        ("firecracker", "[]", r"^1:1: is not an object"),
        ("firecracker", '{"machine-config": {"vcpu_count": ' + "9" * 5000 + "}}", r"^1:1: is not JSON"),
        ("firecracker", '{"machine-config":\n{"vcpu_count": 0}}', r"^2:2: machine-config.vcpu_count: vm.vcpus: is out"),
        (
            "firecracker",
            '{"boot-source": {"kernel_image_path": "\\ud800"}, "drives": [{}]}',
            r"device\[3\].path: is missing",
        ),
        ("cloud-hypervisor", "cloud-hypervisor --memory size=lots", r"^1:18: --memory size: is not a size"),
    ],
)
def test_problems_have_their_place(tool, text, problem):
    with pytest.raises(SpecError, match=problem):
        check(import_module(READERS[tool]).of_text(text, None))


def test_firecracker_names_have_their_lines():
    draft = import_module(READERS["firecracker"]).of_text(
        '{\n  "drives": [\n    {"path_on_host": "a", "x": {}}]}', None
    )
    [remark] = [remark for part in draft.parts for remark in part.remarks if remark.node is not None]
    assert (remark.node.label, remark.node.place[1:]) == ("drives[0].x", (3, 27))

"""A plan as JSON: it comes back equal, and errors have their place."""

import json
from datetime import date, time
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vmspec
from tests.vmspec.specs import specs
from vmspec.plan import serial
from vmspec.plan.plan import Plan
from vmspec.planner import plan
from vmspec.schema.problems import SpecError
from vmspec.spec.models import VM, Boot, Spec

FLAT = Boot(code=b"\xf4", mode="real")
SMALL = Spec(VM(name="small", memory=1 << 20), FLAT)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    match one:
        case dict():
            return one.keys() == other.keys() and all(same(part, other[name]) for name, part in one.items())
        case tuple() | list():
            return len(one) == len(other) and all(map(same, one, other))
        case _:
            return bool(one == other)


def again(planned: Plan) -> Plan:
    return serial.loads(serial.dumps(planned))


@pytest.mark.long
@given(spec=specs)
def test_every_plan_comes_back_equal(spec: Spec) -> None:
    flat = attrs.evolve(spec, boot=FLAT, vm=attrs.evolve(spec.vm, memory=1 << 20))
    try:
        planned = plan(flat)
    except SpecError:
        return
    assert same(again(planned), planned)


def test_a_plan_of_linux_comes_back_equal(linux_plan: Plan) -> None:
    assert same(again(linux_plan), linux_plan)


@pytest.fixture
def linux_plan(tmp_path: Path) -> Plan:
    from tests.vmspec.image import images

    kernel, initrd = tmp_path / "caf\udce9 \x01\n", tmp_path / "initrd"
    kernel.write_bytes(images.bzimage())
    initrd.write_bytes(b"\0" * 5000)
    (tmp_path / "linux.toml").write_text(
        '[vm]\nname = "l"\nvcpus = 3\n[boot]\nkernel = "caf\\u0000e9 \\u0001\\n"\ninitrd = "initrd"\nunpack = false\n'
        'cmdline = "console=ttyS0"\n[trace]\npath = "t.arrow"\n[expect]\nconsole = "\\u0001 login:"\n'
        '[[device]]\nkind = "serial"\noutput = "out"\n[[device]]\nkind = "rtc"\ntime = 2026-01-01T00:00:00Z\n'
        '[[device]]\nkind = "python"\nclass = "m:C"\nport = [1, 2]\n[device.options]\n'
        'when = 2026-01-01\nat = 07:00:00\nnested = { "$path" = "no path", far = -inf }\n'
    )
    return vmspec.Document.open(tmp_path / "linux.toml").plan()


def test_values_that_json_has_not(linux_plan: Plan) -> None:
    options = again(linux_plan).devices[2].options["options"]
    assert options == {"when": date(2026, 1, 1), "at": time(7), "nested": {"$path": "no path", "far": float("-inf")}}


def test_keys_may_be_sorted(linux_plan: Plan) -> None:
    assert serial.loads(json.dumps(json.loads(serial.dumps(linux_plan)), sort_keys=True)) == linux_plan


def test_the_json_is_what_any_reader_takes(linux_plan: Plan) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    shown = json.loads(serial.dumps(linux_plan), parse_constant=refuse)
    assert shown["vm"]["vcpus"] == 3
    assert shown["spec"]["boot"]["cmdline"] == "console=ttyS0"
    assert shown["entry"]["registers"]["rsi"] == hex(linux_plan.entry.registers["rsi"])
    assert shown["devices"][0]["regions"] == [{"name": "registers", "space": "port", "size": 8, "start": 0x3F8}]
    assert shown["calls"][3] == {
        "ioctl": "KVM_SET_TSS_ADDR", "requires": "KVM_CAP_SET_TSS_ADDR", "optional": True, "address": 0xFEFFD000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["devices"][0].update(irq="4"), 'devices[0].irq: must be a whole number of 64 bits (here: "4")'),
        (lambda p: p["devices"][0].update(irq=True), "devices[0].irq: must be a whole number of 64 bits (here: true)"),
        (lambda p: p["slots"][0].update(start=1 << 64), "slots[0].start: must be a whole number of 64 bits"),
        (lambda p: p["slots"].append([]), "slots[1]: must be an object (here: an array)"),
        (lambda p: p.update(devices={}), "devices: must be an array"),
        (lambda p: p.pop("trace"), "trace: is missing"),
        (lambda p: p.update(other=1), "other: unknown key"),
        (lambda p: p.update(format=2), "format: is not a plan that this release of vmspec wrote"),
        (lambda p: p["trace"].update(rip=1), "trace.rip: must be true or false"),
        (lambda p: p["trace"].update(path=""), "trace.path: is empty"),
        (lambda p: p["trace"].update(path="a\0"), "trace.path: holds a NUL character"),
        (lambda p: p["entry"]["registers"].update(rsi="x"), "entry.registers.rsi: must be a hexadecimal string"),
        (lambda p: p.update(code="xx"), "code: must be hexadecimal"),
        (lambda p: p["calls"][0].update(ioctl="KVM_NO"), "calls[0].ioctl: is not a call of a plan"),
        (lambda p: p["calls"][0].update(optional=True), "calls[0].optional: is not the value of open"),
        (lambda p: p["calls"][5].pop("requires"), "calls[5].requires: is missing"),
        (lambda p: p["calls"][-1].pop("vcpu"), "calls[23].vcpu: is missing"),
        (lambda p: p["devices"][0]["options"].update(output={"$path": 1}), 'devices[0].options.output."$path": '),
        (
            lambda p: p["devices"][1]["options"].update(time={"$datetime": "soon"}),
            'devices[1].options.time."$datetime": is not a value of a plan',
        ),
        (
            lambda p: p["devices"][0]["options"].update(com={"$path": "a", "b": 1}),
            "devices[0].options.com.b: is beside $path",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(linux_plan: Plan, change: Any, message: str) -> None:
    value = json.loads(serial.dumps(linux_plan))
    change(value)
    with pytest.raises(SpecError) as caught:
        serial.loads(json.dumps(value), "p.json")
    assert f"p.json: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.json:1:1: is not JSON: expecting value"),
        ('{"a": 1,\n "b" 2}', "p.json:2:6: is not JSON: expecting ':' delimiter"),
        ("[" * 100_000, "p.json:1:1: is nested too deep"),
        ("9" * 5000, "p.json:1:1: is not JSON: "),
        ('{"format": NaN}', "p.json:1:1: is not JSON: NaN is no number"),
        ("[]", "p.json: is not a plan"),
        ('{"format": 1}', "p.json: vm: is missing"),
    ],
)
def test_texts_that_are_no_plan(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        serial.loads(text, "p.json")
    assert str(caught.value).startswith(message)


LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.just("$path") | st.floats(allow_nan=False)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("$time"), inner))


@pytest.mark.long
@given(data=st.data())
def test_any_change_gives_a_plan_or_a_problem(data: st.DataObject) -> None:
    value: Any = json.loads(serial.dumps(plan(SMALL)))
    holder = value
    while True:
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if not holder[key] or not isinstance(holder[key], dict | list) or data.draw(st.booleans()):
            break
        holder = holder[key]
    holder[key] = data.draw(VALUES)
    found = ""
    try:
        serial.loads(json.dumps(value), "p.json")
    except SpecError as error:
        found = str(error)
    assert not found or found.startswith("p.json")


@given(text=st.text())
def test_any_text_gives_a_problem(text: str) -> None:
    with pytest.raises(SpecError):
        serial.loads(text, "p.json")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(serial.dumps(plan(SMALL)))
    assert serial.load(path) == plan(SMALL)
    path.write_bytes(b"\xff")
    with pytest.raises(SpecError, match="is not UTF-8 text"):
        serial.load(path)
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        serial.load(tmp_path / "none")
    with pytest.raises(SpecError, match="cannot be read: "):
        serial.load("a\0b")

"""Devices from the user's files."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices import Board, Device, DeviceError, make
from runner.devices.device import raised
from vmspec.plan.plan import PlannedDevice

DICE = """
from runner.devices import Device

class Dice(Device):
    def __init__(self, sides=6):
        self.sides = sides

    def read(self, region, offset, size):
        return self.sides
"""


@pytest.fixture
def own(tmp_path):
    """Write a file and make a device from it."""

    def build(source, cls="dice:Dice", directory=tmp_path, **options):
        if source is not None:
            (directory / "dice.py").write_text(source)
        table = {"class": cls, "options": options, "port": [0x500, 4]}
        return make(PlannedDevice("python0", "python", table), Board(directory, ()))

    return build


def test_class_beside_the_spec(own, plug):
    assert plug(own(DICE)).read(0) == 6


def test_options_are_keyword_arguments(own, plug):
    assert plug(own(DICE, sides=20)).read(0) == 20


def test_read_default_is_all_ones(own, plug):
    guest = plug(own("from runner.devices import Device\nclass Dice(Device): pass\n"))
    assert guest.read(0, 4) == 0xFFFFFFFF


def test_default_written_hands_over_each_item(plug):
    class Sink(Device):
        def start(self):
            self.items = []
            self.bus.writes("registers", 0, "coalesced", 2)

        def write(self, region, offset, size, value):
            self.items.append((region, offset, size, value))

    guest = plug(Sink())
    guest.device.written("registers", 0, 2, b"\x01\x02\x03\x04")
    assert guest.device.items == [("registers", 0, 2, 0x0201), ("registers", 0, 2, 0x0403)]


def test_same_names_in_two_directories(own, tmp_path, plug):
    other = tmp_path / "other"
    other.mkdir()
    first = own(DICE)
    second = own(DICE.replace("sides=6", "sides=4"), directory=other)
    assert (plug(first).read(0), plug(second).read(0)) == (6, 4)


def test_module_named_like_one_of_the_standard_library(own, tmp_path, plug):
    (tmp_path / "random.py").write_text(DICE)
    assert plug(own(None, cls="random:Dice")).read(0) == 6


def test_neighbours_can_be_imported_and_do_not_clash(own, tmp_path, plug):
    other = tmp_path / "other"
    other.mkdir()
    got = []
    for directory, sides in ((tmp_path, 8), (other, 12)):
        (directory / "sides_of_dice.py").write_text(f"SIDES = {sides}\n")
        source = "from sides_of_dice import SIDES\n" + DICE.replace("sides=6", "sides=SIDES")
        got.append(plug(own(source, directory=directory)).read(0))
    assert got == [8, 12]


def test_dataclasses_with_postponed_annotations_work(own, plug):
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + DICE.replace(
        "class Dice", "@dataclass\nclass Roll:\n    value: int\n\nclass Dice"
    )
    assert plug(own(source)).read(0) == 6


def test_nothing_of_the_import_is_left(own, tmp_path):
    path, bytecode = sys.path[:], sys.dont_write_bytecode
    own(DICE)
    assert (sys.path, sys.dont_write_bytecode, [each.name for each in tmp_path.iterdir()]) == (
        path,
        bytecode,
        ["dice.py"],
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "there is no file {path}"),
        ("", "{path} has no Dice"),
        ("class Dice: pass", "Dice in {path} is not a subclass of runner.devices.Device"),
        ("Dice = 3", "Dice in {path} is not a subclass of runner.devices.Device"),
        ("\nclass Dice(", "SyntaxError: '(' was never closed ({path}:2)"),
        ("\n\nimport nowhere", "ModuleNotFoundError: No module named 'nowhere' ({path}:3)"),
        ("import sys\nsys.exit(3)", "SystemExit: 3 ({path}:2)"),
        (DICE.replace("self.sides = sides", "1 / 0"), "Dice() failed: ZeroDivisionError: division by zero ({path}:6)"),
    ],
    ids=["file", "class", "base", "kind", "syntax", "import", "exit", "constructor"],
)
def test_what_is_wrong_is_said(own, tmp_path, source, said):
    with pytest.raises(DeviceError) as caught:
        own(source)
    message = str(caught.value)
    assert message.startswith("device class dice:Dice: ")
    assert message.endswith(said.format(path=tmp_path / "dice.py"))


def test_unknown_option_is_said(own):
    with pytest.raises(DeviceError, match=r"unexpected keyword argument 'sided'"):
        own(DICE, sided=3)


@given(source=st.text())
def test_any_text_gives_only_its_own_error(tmp_path_factory, source):
    directory = tmp_path_factory.mktemp("any")
    (directory / "any.py").write_text(source, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(DeviceError):
        make(PlannedDevice("python0", "python", {"class": "any:Thing", "options": {}}), Board(directory, ()))


# Classes from before devices had regions

OLD = """
from runner.devices import Device

class Dice(Device):
    def start(self):
        self.bus.publish(1, 0x60)
        self.bus.deliver(2, "queued")

    def read(self, offset, size):
        return super().read(offset, size) - offset

    def write(self, offset, size, value):
        self.output(bytes((0x30 + offset, value)))
"""


@pytest.fixture
def old(own, plug):
    """Makes a device of an old class, whose warning is looked for."""

    def build(source):
        with pytest.warns(DeprecationWarning, match=r"dice:Dice .*/dice.py\) takes no region"):
            return plug(own(source), region="port")

    return build


def test_an_old_class_still_works(old):
    guest = old(OLD)
    assert (guest.read(0), guest.read(1), guest.read(3, 2)) == (0xFF, 0x60, 0xFFFC)
    guest.write(0, 0x41)
    guest.write(2, 0x42)
    guest.flush()
    assert guest.text == b"0A2B"


def test_an_old_class_that_only_calls_the_bus_is_warned_of_then(old):
    source = OLD.partition("    def read")[0]
    assert old(source).read(1) == 0x60


def test_a_class_without_registers_is_not_warned_of(own, plug):
    plug(own("from runner.devices import Device\nclass Dice(Device): pass\n"), region="port")


def test_a_person_is_told_of_an_old_class(tmp_path):
    (tmp_path / "dice.py").write_text(OLD)
    told = []
    with pytest.warns(DeprecationWarning, match="takes no region"):
        make(PlannedDevice("python0", "python", {"class": "dice:Dice", "options": {}, "port": [0x500, 4]}),
             Board(tmp_path, (), told.append))  # fmt: skip
    assert told == [f"device class dice:Dice ({tmp_path}/dice.py) takes no region, which the next release requires: "
                    "see docs/devices.md"]  # fmt: skip


def test_what_an_old_class_raises_is_found_in_its_file(old, tmp_path):
    device = old(OLD.replace("- offset", "/ 0")).device
    with pytest.raises(ZeroDivisionError) as caught:
        device.read("port", 0, 1)
    assert raised(caught.value, device) == f"ZeroDivisionError: division by zero ({tmp_path}/dice.py:10)"


def test_an_old_class_hashes_its_file(old, tmp_path):
    assert list(old(OLD).device.made_from) == [tmp_path / "dice.py"]

"""Rates of a machine's counters."""

import pytest

from runner.control.errors import ControlError
from runner.control.rates import Row, rates, table

BEFORE = {
    "seconds": 1.0, "exits": {"io": 100}, "devices": {"rtc0": 10, "serial0": 90},
    "queues": {"virtio-blk0 queue 0": 0, "virtio-blk0 queue 1": 0}, "dropped": 0, "resident": 0,
}  # fmt: skip
AFTER = {
    "seconds": 3.0, "exits": {"io": 300, "mmio": 50}, "devices": {"rtc0": 10, "serial0": 290},
    "queues": {"virtio-blk0 queue 0": 8, "virtio-blk0 queue 1": 0}, "dropped": 4, "resident": 22 << 20,
}  # fmt: skip


def test_the_fastest_comes_first():
    assert rates(BEFORE, AFTER, "exits") == [Row("io", 300, 100.0), Row("mmio", 50, 25.0)]
    assert [row.name for row in rates(BEFORE, AFTER, "devices")] == ["serial0", "rtc0"]


def test_without_time_nothing_is_fast():
    assert rates(BEFORE, BEFORE, "exits") == [Row("io", 100, 0.0)]


@pytest.mark.parametrize(
    "reading", [{}, {"seconds": "x"}, {"seconds": 2.0, "exits": []}, AFTER | {"exits": {"io": {}}}]
)
def test_what_is_no_reading(reading):
    with pytest.raises(ControlError, match="counters that are none"):
        rates(BEFORE, reading, "exits")


def test_a_table():
    assert [line.split() for line in table(BEFORE, AFTER)] == [
        ["exits", "total", "per", "second"],
        ["io", "300", "100"],
        ["mmio", "50", "25"],
        ["all", "350", "125"],
        ["by", "device"],
        ["serial0", "290", "100"],
        ["rtc0", "10", "0"],
        ["requests"],
        ["virtio-blk0", "queue", "0", "8", "4"],
        ["after", "3.0", "s:", "22", "MiB", "resident,", "4", "exits", "not", "recorded"],
    ]

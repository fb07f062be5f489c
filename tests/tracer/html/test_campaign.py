"""The page of a campaign, and of two."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tracer.analysis.regression import compare
from tracer.cli import main
from tracer.html.campaign import render
from tracer.read.campaign import load

EVIL = "</title><script>window.pwned=1</script>"


def run(vcpus=1, seconds=1.0, status=0, io=2, error=None):
    groups = [{"device": EVIL, "reason": "io", "exits": io}, {"device": "-", "reason": "hlt", "exits": 1}]
    row = {"spec": "/s/a.toml", "status": status, "kind": "halt", "error": error, "seconds": seconds, "exits": io + 1}
    return row | {"handling_ns": 5000, "groups": groups, "phases": None, "set.vm.vcpus": vcpus}


def made(slower=0.0):
    rows = [run(vcpus, vcpus + n / 100 + slower, io=n % 3) for vcpus in (1, 2) for n in range(20)]
    return [*rows, run(1, 60.0, 5, error=EVIL)]


@pytest.fixture
def folders(tmp_path):
    for name, rows in (("a", made()), ("b", made(0.5))):
        (tmp_path / name).mkdir()
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name / "runs.parquet")
    return tmp_path / "a", tmp_path / "b"


def labels(html):
    return re.findall(r'aria-label="([^"]*: [^"]*)"', html)


def test_a_plot_for_each_quantity_and_machine(folders):
    html = render([load(folders[0])])
    assert labels(html)[:2] == [
        "time of a run of vm.vcpus=1: 20 runs, median 1.10 s; 1 failed",
        "time of a run of vm.vcpus=2: 20 runs, median 2.10 s",
    ]
    # What never varies is named once.
    assert re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", html) == [("time of handling", "5.00 us"), ("exits: hlt", "1")]
    # The failed run does not stretch the axis; its mark is at the edge.
    assert html.count("<span>2.19 s</span>") == 2
    assert html.count('class="failed"') == 2  # of the time, and of the exits
    assert '<h3 id="t2">How the runs ended' in html


def test_two_campaigns_are_side_by_side_and_what_differs_comes_first(folders):
    a, b = map(load, folders)
    html = render([a, b], compare(a, b))
    first, second = labels(html)[:2]
    assert (first.split(":")[0], second.split(":")[0]) == (
        "time of a run of vm.vcpus=1, campaign A", "time of a run of vm.vcpus=1, campaign B",
    )  # fmt: skip
    assert len(re.findall('<figure class="differs">', html)) == 2
    assert "B differs: effect +1.00" in html
    assert "B does not differ" in html


def test_what_a_guest_chose_is_text(folders):
    html = render([load(folders[0])])
    assert "<script" not in html
    assert "exits: io &lt;/title&gt;" in html


def test_the_command_writes_it_and_overwrites_nothing(folders, capsys, tmp_path):
    page = tmp_path / "page.html"
    assert main(["campaign", *map(str, folders), "--html", str(page)]) == 1  # they differ
    assert page.read_text().startswith("<!doctype html>")
    data = folders[0] / "runs.parquet"
    before = data.read_bytes()
    assert main(["campaign", str(folders[0]), "--html", str(data)]) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert data.read_bytes() == before


def test_runs_that_all_failed_have_a_page(tmp_path):
    pq.write_table(pa.Table.from_pylist([run(status=4), run(2, status=4)]), tmp_path / "runs.parquet")
    assert "No run that did not fail" in render([load(tmp_path)])

"""The file of a campaign."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.campaign.models import load
from vmspec.schema.problems import SpecError


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "c.toml"
        path.write_text(text)
        return path

    return write


def test_all_keys(written, tmp_path):
    path = written(
        '[campaign]\nspecs = ["a.toml", "/b.toml"]\nrepeat = 20\ntraces = "every"\nevery = 5\ndisk = "1GiB"\n'
        'timeout = "5s"\n[axes]\n"vm.vcpus" = [1, 2]\n'
    )
    made = load(path)
    one = made.campaign
    assert [str(spec) for spec in one.specs] == [str(tmp_path / "a.toml"), "/b.toml"]
    assert (one.repeat, one.traces, one.every, one.disk, one.timeout) == (20, "every", 5, 1 << 30, 5 * 10**9)
    assert made.axes == {"vm.vcpus": (1, 2)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "c.toml:1:1: campaign: is missing"),
        ("[campaign]\n", "c.toml:1:2: campaign.specs: is missing"),
        ('[campaign]\nspecs = "a"\nrepeats = 2\n', "c.toml:3:1: campaign.repeats: unknown key"),
        ('[campaign]\nspecs = "a"\nrepeat = 0\n', "c.toml:3:10: campaign.repeat: is out of range"),
        ('[campaign]\nspecs = "a"\n[axes]\n"vm.vcpus" = 3\n', "must be an array of at least one value"),
        ("[campaign\n", "is not TOML"),
    ],
)
def test_what_is_wrong_is_located(written, text, problem):
    with pytest.raises(SpecError, match=r"c\.toml") as caught:
        load(written(text))
    assert problem in str(caught.value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_a_campaign_or_a_problem(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text)
    with pytest.raises(SpecError):
        load(path)

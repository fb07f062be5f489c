"""The shape of the documents: the chapters of ARCHITECTURE.md, and lines that fit an editor and a diff."""

import re

import pytest

from tests.docs.test_mentions import DOCUMENTS, FENCE, TEXTS

LONGEST = 120


def test_the_architecture_has_six_chapters_and_one_diagram():
    text = TEXTS["ARCHITECTURE.md"]
    assert re.findall(r"^#{2,} (.*)$", text, re.MULTILINE) == [
        "Spec and plan", "Boot", "vCPU loop and bus", "Recording", "Reading and analysis", "Life cycle",
    ]  # fmt: skip
    assert len(re.findall(r"\n\n {4}", text)) == 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_lines_outside_tables_and_blocks_are_short(name):
    lines = FENCE.sub("", TEXTS[name]).splitlines()
    assert [line for line in lines if len(line) > LONGEST and not line.startswith("|")] == []


def test_the_changelog_says_nothing_twice():
    entries = re.findall(r"^- .*(?:\n  .*)*", TEXTS["CHANGELOG.md"], re.MULTILINE)
    assert len(entries) == len(set(entries)) > 0

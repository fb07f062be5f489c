"""Many mutated spec texts, quickly: they raise only SpecError (test_malformed.py checks its text)."""

import os
import random
from pathlib import Path

from vmspec.document import Document
from vmspec.schema.problems import Problem, SpecError

# VMRUN_MUTATIONS raises the number of inputs for a soak run.
MUTATIONS = int(os.environ.get("VMRUN_MUTATIONS", "200"))
EXAMPLES = sorted((Path(__file__).parent.parent.parent / "examples").rglob("*.toml"))
PIECES = ["[", "]", "[[", "{", "}", "=", '"', "'", '"""', "#", "\n", "\\", ",", ".", "\0", "é", "-1", "nan", "1e999"]
PIECES += ["[vm]", "[[device]]", "kind = 'serial'", "0x" + "f" * 20, "1979-05-27", "9" * 5000, "\ufeff", "true", "{}"]


def mutated(source: random.Random, text: str) -> str:
    """The text with one to six places cut out, put in, moved or doubled."""
    for _ in range(source.randint(1, 6)):
        start = source.randrange(len(text) + 1)
        end = min(len(text), start + source.choice((0, 1, 1, 3, 20)))
        piece = source.choice((source.choice(PIECES), "", text[end : end + 30], chr(source.randrange(0xD800))))
        text = text[:start] + piece + text[end:]
    return text


def test_mutated_specs_give_only_their_own_error():
    source = random.Random(20261122)
    texts = [path.read_text() for path in EXAMPLES]
    refused = 0
    for _ in range(MUTATIONS):
        text = mutated(source, source.choice(texts))
        problems: tuple[Problem, ...] = ()
        try:
            Document(text, EXAMPLES[0].parent, file=Path("mutated.toml")).plan()
        except SpecError as error:
            problems = error.problems
            refused += 1
        assert all(problem.line is not None for problem in problems), text
    assert MUTATIONS // 3 < refused < MUTATIONS  # else the mutations are too tame, or too wild

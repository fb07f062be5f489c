from vmspec.devices.models import KINDS
from vmspec.schema.value import keys
from vmspec.show.reference import text
from vmspec.spec.expect import ExitLimits, TimeLimits
from vmspec.spec.models import Spec


def test_every_key_of_every_table_is_there():
    sections = {}
    for section in text().split("\n\n"):
        lines = section.splitlines()
        head = [line for line in lines if not line.startswith(("#", " "))]
        sections["\n".join(head)] = lines
    tables = {f"[{name}]": attribute.metadata["value"] for name, attribute in keys(Spec).items() if name != "device"}
    matrix = tables.pop("[matrix]")  # its keys are the others
    assert sections.pop("[matrix]")[-1] == f"  {matrix.allowed}"
    models = {head: table.model for head, table in tables.items()}
    models |= {"[expect.exits]": ExitLimits, "[expect.time]": TimeLimits}
    models |= {f'[[device]]\nkind = "{kind}"': model for kind, model in KINDS.items()}
    assert sections.keys() == models.keys()
    for head, model in models.items():
        told = [line.split()[0] for line in sections[head] if line.startswith("  ") and line[2:4].strip()]
        assert [name for name in told if name != "one"] == list(keys(model))


def test_what_a_key_takes_and_what_counts_without_it():
    lines = [line.strip() for line in text().splitlines()]
    assert 'a size such as "512MiB", from 1MiB to 1TiB, a multiple of 4KiB; default "128MiB"' in lines
    assert "a line of text; required" in lines
    assert "true or false; default true" in lines
    assert "true or false" in lines  # pit: neither
    assert max(map(len, lines)) <= 100

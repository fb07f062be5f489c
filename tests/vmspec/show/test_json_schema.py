import json
import tomllib
from datetime import date, datetime, time
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given

import vmspec
from tests.vmspec.specs import specs
from vmspec.devices.models import KINDS

EXAMPLES = sorted(Path(__file__).parents[3].glob("examples/*/*.toml"))


@pytest.fixture(scope="module")
def validator():
    return jsonschema.Draft202012Validator(json.loads(json.dumps(vmspec.json_schema())))


def as_json(value):
    """A TOML value as editors hand it to a JSON Schema: times are strings."""
    match value:
        case dict():
            return {name: as_json(item) for name, item in value.items()}
        case list():
            return [as_json(item) for item in value]
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return value


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(vmspec.json_schema())


@pytest.mark.long
@given(spec=specs)
def test_what_vmspec_shows_is_accepted(validator, spec):
    validator.validate(as_json(tomllib.loads(vmspec.dumps(spec))))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_examples_are_accepted(validator, path):
    validator.validate(as_json(tomllib.loads(path.read_text())))


GOOD = {"vm": {"name": "x"}, "boot": {"code": "f4"}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory": 1},
        {"vm": {"name": "x", "memroy": 1}},
        {"vm": {}},
        {"boot": {}},
        {"boot": {"code": "f4", "kernel": "k"}},
        {"boot": {"code": "f4", "registers": {"eax": 1}}},
        {"device": {"kind": "serial"}},
        {"device": [{"kind": "seriel"}]},
        {"device": [{"kind": "serial", "port": 1}]},
        {"device": [{"com": 1}]},
        {"expect": {"exit": ["reset", "poweof"]}},
        {"trace": {"ring": 1000}},
    ],
)
def test_what_vmspec_refuses_is_refused(validator, wrong):
    assert not validator.is_valid(GOOD | wrong)


def test_every_key_is_described():
    def described(schema):
        assert schema.get("description")
        for name, inner in schema["properties"].items():
            assert inner.get("description"), name

    schema = vmspec.json_schema()
    for table in ("vm", "boot", "cpu", "trace", "expect"):
        described(schema["properties"][table])


def test_every_kind_of_device_is_there():
    variants = vmspec.json_schema()["properties"]["device"]["items"]["oneOf"]
    assert [variant["properties"]["kind"]["const"] for variant in variants] == list(KINDS)

"""The JSON Schema (draft 2020-12) of a spec, from the models, so that editors complete and check specs."""

from typing import Any

from vmspec.schema.tables import model_schema
from vmspec.spec.models import Spec


def json_schema() -> dict[str, Any]:
    """The schema as a JSON object, of nested dictionaries and lists."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vmrun spec",
        **model_schema(Spec),
    }

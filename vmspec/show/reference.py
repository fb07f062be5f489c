"""Every table and key that a spec may have, in words, from the models."""

import textwrap
from collections.abc import Iterator
from typing import Any

from attrs import NOTHING

from vmspec.schema.tables import Kinds, Table
from vmspec.schema.value import Model, Value, keys, show
from vmspec.spec.models import Spec

WIDTH = 100  # columns
INDENT = 14  # of what is said of a key


def text() -> str:
    """The reference, for people: tables as they stand in a spec, and below each its keys, what they are and take."""
    return "\n\n".join(_sections()) + "\n"


def _sections() -> Iterator[str]:
    for name, attribute in keys(Spec).items():
        match attribute.metadata["value"]:
            case Table(model=model):
                yield _section(f"[{name}]", attribute.metadata["doc"], model)
            case Kinds(kinds=kinds):
                for kind, model in kinds.items():
                    yield _section(f"[[{name}]]\nkind = {show(kind)}", (model.__doc__ or "").rstrip("."), model)


def _section(head: str, doc: str, model: type[Model]) -> str:
    lines = [*(f"# {line}" for line in textwrap.wrap(doc, WIDTH - 2, break_on_hyphens=False)), head]
    if model.ONE_OF:
        lines.append(f"  one of {', '.join(model.ONE_OF)} is given")
    for name, attribute in keys(model).items():
        said = (attribute.metadata["doc"], f"{attribute.metadata['value'].allowed}{_default(attribute)}")
        paragraphs = [textwrap.wrap(each, WIDTH - INDENT, break_on_hyphens=False) for each in said]
        first, *rest = [line for paragraph in paragraphs for line in paragraph]
        lines.append(f"  {name:<{INDENT - 3}} {first}")
        lines += [" " * INDENT + line for line in rest]
    return "\n".join(lines)


def _default(attribute: Any) -> str:
    """What counts where the key is not given, unless that is nothing."""
    value: Value = attribute.metadata["value"]
    match attribute.default:
        case default if default is NOTHING:
            return "; required"
        case bool() | int() | str() as default:
            return f"; default {show(value.write(default))}"
    return ""

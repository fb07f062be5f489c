"""Every table and key of a spec, in words, from the models."""

from collections.abc import Iterator
from typing import Any

from attrs import NOTHING

from vmspec.host.wrapping import USUAL, wrapped
from vmspec.schema.tables import Kinds, Table
from vmspec.schema.value import Model, Value, keys, show
from vmspec.spec.models import Spec

INDENT = 14  # of a key's description


def text(width: int | None = None) -> str:
    """The reference, for people: tables as in a spec, and below each its keys, their meaning and values, for a terminal
    of that many columns; None: 100."""
    return "\n\n".join(_sections(width or USUAL)) + "\n"


def _sections(width: int) -> Iterator[str]:
    for name, attribute in keys(Spec).items():
        match attribute.metadata["value"]:
            case Table(model=model):
                yield from _table(name, attribute.metadata["doc"], model, width)
            case Kinds(kinds=kinds):
                for kind, model in kinds.items():
                    yield _section(f"[[{name}]]\nkind = {show(kind)}", (model.__doc__ or "").rstrip("."), model, width)
            case value:  # a table whose keys are not known
                lines = [f"# {line}" for line in wrapped(attribute.metadata["doc"], width - 2)]
                allowed = wrapped(f"  {value.allowed}", width, hang=2)
                yield "\n".join((*lines, f"[{name}]", *allowed))


def _table(name: str, doc: str, model: type[Model], width: int) -> Iterator[str]:
    """The section of a table, and those of the tables in it."""
    yield _section(f"[{name}]", doc, model, width)
    for inner, attribute in keys(model).items():
        if isinstance(value := attribute.metadata["value"], Table):
            yield from _table(f"{name}.{inner}", attribute.metadata["doc"], value.model, width)


def _section(head: str, doc: str, model: type[Model], width: int) -> str:
    lines = [*(f"# {line}" for line in wrapped(doc, width - 2)), head]
    if model.ONE_OF:
        lines += wrapped(f"  one of {' or '.join(model.ONE_OF)} is required", width, hang=2)
    for name, attribute in keys(model).items():
        said = (attribute.metadata["doc"], f"{attribute.metadata['value'].allowed}{_default(attribute)}")
        paragraphs = [wrapped(each, width - INDENT) for each in said]
        first, *rest = [line for paragraph in paragraphs for line in paragraph]
        lines.append(f"  {name:<{INDENT - 3}} {first}")
        lines += [" " * INDENT + line for line in rest]
    return "\n".join(lines)


def _default(attribute: Any) -> str:
    """The default of a key, if it has one."""
    value: Value = attribute.metadata["value"]
    match attribute.default:
        case default if default is NOTHING:
            return "; required"
        case bool() | int() | str() as default:
            return f"; default {show(value.write(default))}"
    return ""

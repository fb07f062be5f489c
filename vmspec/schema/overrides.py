"""``--set KEY=VALUE``: changes to the document before it is read."""

from typing import Any

from vmspec.schema import toml
from vmspec.schema.keypath import KeyPath, join, split


def parse(expression: str) -> tuple[KeyPath, Any]:
    """Key path and value of an override. The value is TOML if it parses, else a string. Raises ValueError."""
    name, equals, text = expression.partition("=")
    path = split(name.strip())
    if not equals or not path:
        raise ValueError("write KEY=VALUE")
    if name.endswith(" "):  # written as in the file
        text = text.strip()
    try:
        match toml.loads(f"value = {text}"):
            case {"value": value, **rest} if not rest:
                return path, value
    except (ValueError, RecursionError):
        pass
    return path, text


def apply(data: dict[str, Any], path: KeyPath, value: Any) -> KeyPath:
    """Set the value in the document, and make missing tables. Returns the path of the outermost new item. Raises
    ValueError if the path does not fit; the document is then unchanged."""
    holder: Any = data
    for depth, step in enumerate(path):
        rest = path[depth + 1 :]
        match holder, step:
            case dict(), str() if not rest or step not in holder:
                holder[step] = _nest(rest, value)
                return path[: depth + 1]
            case list(), int() if step < len(holder) and not rest:
                holder[step] = value
                return path
            case list(), int() if step >= len(holder):
                raise ValueError(f"there are {len(holder)} of these, numbered from 0")
            case (dict(), str()) | (list(), int()):
                holder = holder[step]
            case list(), _:
                raise ValueError(f"is within an array: say which element, as in {join(path[:depth])}[0].{step}")
            case _, int():
                raise ValueError(f"{join(path[:depth])} is not an array")
            case _:
                raise ValueError(f"{join(path[:depth])} is not a table")
    raise AssertionError("a path has a step")


def _nest(path: KeyPath, value: Any) -> Any:
    """The value inside new tables named by the path."""
    for step in reversed(path):
        if isinstance(step, int):
            raise ValueError("cannot make an array; set it whole")
        value = {step: value}
    return value

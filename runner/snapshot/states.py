"""Devices' states as JSON values, and back by the rules of their classes."""

from typing import Any

from runner.devices.state import Octets, Part, Parts, Rule, State, StateError


def tree(state: State) -> dict[str, Any]:
    """A state in dicts and lists; bytes are hexadecimal."""
    values = {name: _written(rule, getattr(state, name)) for name, rule in type(state).rules().items()}
    return {"class": type(state).__qualname__, "version": state.version, **values}


def from_tree(cls: type[State], value: Any) -> State:
    """The state of a class. Raises StateError."""
    rules = cls.rules()
    if not isinstance(value, dict) or value.get("class") != cls.__qualname__:
        raise StateError(f"the saved state is no {cls.__name__}")
    names = {"class", "version", *rules}
    if odd := sorted(map(str, names ^ value.keys())):
        raise StateError(f"{cls.__name__}: {odd[0]} is {'missing' if odd[0] in names else 'unknown'}")
    return cls(version=value["version"], **{name: _read(rule, value[name]) for name, rule in rules.items()})


def _written(rule: Rule, value: Any) -> Any:
    match rule:
        case Octets():
            return value.hex()
        case Part():
            return tree(value)
        case Parts():
            return [tree(one) for one in value]
        case _:
            return value


def _read(rule: Rule, value: Any) -> Any:
    """The class checks what this returns."""
    match rule:
        case Octets():
            try:
                return bytes.fromhex(value)
            except (TypeError, ValueError):
                raise StateError(f"{value!r:.100} is not hexadecimal") from None
        case Part(cls):
            return from_tree(cls, value)
        case Parts(cls):
            if not isinstance(value, list):
                raise StateError(f"{value!r:.100} is no list")
            return tuple(from_tree(cls, one) for one in value)
        case _:
            return value

"""The state that a device model saves and loads: a frozen attrs class per model, with a version and a rule per value.

States may come from any file. A device must work with every value that a rule accepts.
"""

from typing import Any, ClassVar, Self, dataclass_transform

from vmspec.host.printable import PrintableError


class StateError(PrintableError):
    """A state that a device does not take; the message says which value, and what it takes."""


# Plain classes: making a named tuple takes ten times as long, in every start.


class Number:
    """An integer from ``low`` to ``high``; with ``none``, or None."""

    __match_args__ = ("low", "high", "none")

    def __init__(self, low: int, high: int, none: bool = False) -> None:
        self.low, self.high, self.none = low, high, none

    def fits(self, value: object) -> bool:
        """Whether the rule accepts the value."""
        if value is None:
            return self.none
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"an integer from {self.low:#x} to {self.high:#x}" + (" or None" if self.none else "")


class Bits:
    """An integer with no bit outside ``mask``."""

    __match_args__ = ("mask",)

    def __init__(self, mask: int) -> None:
        self.mask = mask

    def fits(self, value: object) -> bool:
        """Whether the rule accepts the value."""
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0 and not value & ~self.mask

    def __str__(self) -> str:
        return f"an integer without bits outside {self.mask:#x}"


class OneOf:
    """One of some values."""

    __match_args__ = ("values",)

    def __init__(self, values: tuple[int | None, ...]) -> None:
        self.values = values

    def fits(self, value: object) -> bool:
        """Whether the rule accepts the value."""
        return (value is None or type(value) is int) and value in self.values

    def __str__(self) -> str:
        return " or ".join("None" if value is None else f"{value:#x}" for value in self.values)


class Flag:
    """True or False."""

    def fits(self, value: object) -> bool:
        """Whether the rule accepts the value."""
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "True or False"


class Octets:
    """From ``least`` to ``most`` bytes."""

    __match_args__ = ("least", "most")

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def fits(self, value: object) -> bool:
        """Whether the rule accepts the value."""
        return isinstance(value, bytes) and self.least <= len(value) <= self.most

    def __str__(self) -> str:
        return f"{self.most} bytes" if self.least == self.most else f"{self.least} to {self.most} bytes"


class Part:
    """A state of another class."""

    __match_args__ = ("cls",)

    def __init__(self, cls: "type[State]") -> None:
        self.cls = cls

    def fits(self, value: object) -> bool:
        """Whether the rule accepts the value."""
        return type(value) is self.cls

    def __str__(self) -> str:
        return f"a {self.cls.__name__}"


class Parts:
    """Up to ``most`` states of another class, as a tuple."""

    __match_args__ = ("cls", "most")

    def __init__(self, cls: "type[State]", most: int) -> None:
        self.cls, self.most = cls, most

    def fits(self, value: object) -> bool:
        """Whether the rule accepts the value."""
        return isinstance(value, tuple) and len(value) <= self.most and all(type(one) is self.cls for one in value)

    def __str__(self) -> str:
        return f"up to {self.most} of {self.cls.__name__}"


Rule = Number | Bits | OneOf | Flag | Octets | Part | Parts


def number(low: int, high: int) -> Any:
    """A field with an integer from ``low`` to ``high``."""
    return Number(low, high)


def number_or_none(low: int, high: int) -> Any:
    """A field with an integer from ``low`` to ``high``, or None."""
    return Number(low, high, none=True)


def bits(mask: int) -> Any:
    """A field with a register's value, with no bit outside ``mask``."""
    return Bits(mask)


def one_of(*values: int | None) -> Any:
    """A field with one of some values."""
    return OneOf(values)


def flag() -> Any:
    """A field with True or False."""
    return Flag()


def octets(most: int, least: int = 0) -> Any:
    """A field with ``least`` to ``most`` bytes."""
    return Octets(least, most)


def part(cls: "type[State]") -> Any:
    """A field with a state of another class."""
    return Part(cls)


def parts(cls: "type[State]", most: int) -> Any:
    """A field with a tuple of up to ``most`` states of another class."""
    return Parts(cls, most)


@dataclass_transform(
    kw_only_default=True,
    frozen_default=True,
    field_specifiers=(number, number_or_none, bits, one_of, flag, octets, part, parts),
)
class State:
    """Base of the state classes: each field's default is its rule, and every field must be given.

    ``VERSION`` is incremented when a class changes. A class becomes an attrs class when the first state is made, not at
    a machine's start: that takes about a millisecond, and importing attrs takes more.
    """

    VERSION: ClassVar[int] = 1

    version: int = number(0, 1 << 32)

    def __new__(cls, **values: object) -> "State":
        if "__attrs_attrs__" not in vars(cls):
            _finish(cls)
        return super().__new__(cls)

    @classmethod
    def again(cls, state: "State") -> Self:
        """The same state in this class, from a state whose class has the same name and fields. Raises StateError."""
        if type(state).__qualname__ != cls.__qualname__ or type(state).rules().keys() != cls.rules().keys():
            raise StateError(f"the saved state is a {type(state).__name__}, not the {cls.__name__} of this device")
        return cls(
            version=state.version, **{name: _again(rule, getattr(state, name)) for name, rule in cls.rules().items()}
        )

    @classmethod
    def rules(cls) -> dict[str, Rule]:
        """The rule of each field by its name, without the version's."""
        named = (vars(base) for base in reversed(cls.__mro__) if issubclass(base, State) and base is not State)
        return {name: rule for names in named for name, rule in names.items() if isinstance(rule, Rule)}


def _again(rule: Rule, value: Any) -> Any:
    """The value of a field; a part in the rule's class."""
    return rule.cls.again(value) if isinstance(rule, Part) and type(value) is not rule.cls else value


def _finish(cls: type[State]) -> None:
    """Make a state class an attrs class, in place."""
    import attrs

    def check(state: State, attribute: Any, value: object) -> None:
        if not rules[attribute.name].fits(value):
            raise StateError(f"{cls.__name__}: {attribute.name} is {value!r:.100}, not {rules[attribute.name]}")

    def check_version(state: State, attribute: Any, value: object) -> None:
        if value != cls.VERSION:
            raise StateError(f"{cls.__name__} is of version {value!r:.100}; this vmrun reads version {cls.VERSION}")

    rules = cls.rules()
    fields: dict[str, Any] = {"version": attrs.field(default=cls.VERSION, validator=check_version)}
    fields |= {name: attrs.field(validator=check) for name in rules}
    attrs.frozen(these=fields, slots=False, kw_only=True)(cls)

"""Operands of a filter: numbers, texts and conditions, computed batch by batch with Python's results.

An operand is a column, something computed from columns, or a constant. A number knows the bounds of its values, so it
is computed in a type that holds them: int64, uint64, or a decimal. Nothing wraps around.
"""

import operator
from collections.abc import Callable
from typing import Any

from attrs import frozen

from vmspec.trace.table import Column

DIGITS = 37  # digits of the decimals; pyarrow adds one for the result of an addition, and 38 fit in 128 bits
LARGEST = 10 ** (DIGITS - 1)

_INT64, _UINT64 = (-(1 << 63), (1 << 63) - 1), (0, (1 << 64) - 1)
_BOUNDS = {"uint8": (0, 0xFF), "uint16": (0, 0xFFFF), "uint32": (0, 0xFFFFFFFF), "uint64": _UINT64, "int64": _INT64}
_PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "&": operator.and_,
    "|": operator.or_,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "and": operator.and_,
    "or": operator.or_,
}
_ARROW = {
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "&": "bit_wise_and",
    "|": "bit_wise_or",
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "and": "and_",
    "or": "or_",
}


class Unfit(Exception):
    """Operands that cannot be combined; the message says why."""


@frozen
class Operand:
    """``kind`` is number, text or condition; ``constant`` its value if it is constant, else None.

    ``column`` is the column if the operand is a plain column. ``bounds`` are the lowest and the highest value of a
    number. ``unit`` is "ns" for a time, "" for a column without a unit, None for a plain number.
    """

    kind: str
    constant: int | str | bool | None = None
    column: str | None = None
    bounds: tuple[int, int] = (0, 0)
    unit: str | None = None
    _compute: Callable[[Any], Any] | None = None

    @staticmethod
    def of_column(column: Column) -> "Operand":
        """A column of the trace."""
        if column.type == "utf8":
            return Operand("text", column=column.name, compute=lambda batch: batch[column.name])
        unit = "ns" if column.unit == "ns" else ""
        return Operand("number", None, column.name, _BOUNDS[column.type], unit, lambda batch: batch[column.name])

    def values(self, batch: Any, type: Any = None) -> Any:
        """The values for the rows of a batch: a pyarrow array, or a scalar for a constant, of a pyarrow type."""
        import pyarrow as pa

        if self._compute is None:
            return (
                pa.scalar(self.constant, type) if type is None or not pa.types.is_decimal(type) else self._decimal(type)
            )
        values = self._compute(batch)
        return values if type is None or values.type == type else values.cast(type)

    def calculated(self, operation: str, other: "Operand") -> "Operand":
        """A number from two numbers. Raises Unfit if it may become too large, or for a bit operation on unfit
        numbers."""
        import pyarrow as pa

        unit = self._unit(other, operation)
        if self.constant is not None and other.constant is not None:
            return number(int(_PYTHON[operation](self.constant, other.constant)), unit)
        bounds = self._result(operation, other)
        if max(map(abs, bounds)) > LARGEST:
            raise Unfit(f"the result of {operation} may become too large")
        bits = operation in "&|"
        held = _hull(self.bounds, other.bounds) if bits else _hull(self.bounds, other.bounds, bounds)
        # The product of two decimals has the digits of both.
        kind = pa.decimal256(DIGITS, 0) if operation == "*" and _wide(held) else _arrow_type(held)
        compute = self._function(operation, other, kind, _arrow_type(bounds) if _wide(held) else None)
        return Operand("number", None, None, bounds, unit, compute)

    def compared(self, operation: str, other: "Operand") -> "Operand":
        """A condition from two operands of one kind."""
        if self.constant is not None and other.constant is not None:
            return TRUE if _PYTHON[operation](self.constant, other.constant) else FALSE
        kind = None
        if self.kind == "number":
            self._unit(other, operation)
            kind = _arrow_type(_hull(self.bounds, other.bounds))
        return Operand("condition", compute=self._function(operation, other, kind))

    def joined(self, operation: str, other: "Operand") -> "Operand":
        """A condition from two conditions: "and", "or"."""
        for one, rest in ((self, other), (other, self)):
            if one.constant is not None:
                decides = bool(one.constant) is (operation == "or")
                return one if decides else rest
        return Operand("condition", compute=self._function(operation, other, None))

    def inverted(self) -> "Operand":
        """The condition that holds where this one does not."""
        if self.constant is not None:
            return FALSE if self.constant else TRUE

        def compute(batch: Any) -> Any:
            import pyarrow.compute as pc

            return pc.invert(self.values(batch))

        return Operand("condition", compute=compute)

    def contains(self, part: "Operand") -> "Operand":
        """Whether a text contains another, constant one."""
        if not isinstance(part.constant, str):
            raise Unfit("search a text for a text in quotes")
        if isinstance(self.constant, str):
            return TRUE if part.constant in self.constant else FALSE
        pattern = part.constant

        def compute(batch: Any) -> Any:
            import pyarrow.compute as pc

            return _over_words(self.values(batch), lambda words: pc.match_substring(words, pattern))

        return Operand("condition", compute=compute)

    def _function(self, operation: str, other: "Operand", kind: Any, result: Any = None) -> Callable[[Any], Any]:
        """Convert both operands to one type, then apply pyarrow's function; convert the result if a type is given."""

        def compute(batch: Any) -> Any:
            import pyarrow.compute as pc

            function, right = getattr(pc, _ARROW[operation]), other.values(batch, kind)
            if self.kind == "text":
                right = right.cast("string") if other.constant is None else right
                return _over_words(self.values(batch), lambda words: function(words, right), other.constant is None)
            values = function(self.values(batch, kind), right)
            return values if result is None else values.cast(result)

        return compute

    def _unit(self, other: "Operand", operation: str) -> str | None:
        units = {self.unit, other.unit} - {None}
        if units == {"", "ns"} and operation not in "*&|":
            raise Unfit("a time cannot be combined with a number that is not a time")
        return "ns" if "ns" in units else "" if units else None

    def _result(self, operation: str, other: "Operand") -> tuple[int, int]:
        """The bounds of a calculation's result."""
        (low, high), (other_low, other_high) = self.bounds, other.bounds
        match operation:
            case "+":
                return low + other_low, high + other_high
            case "-":
                return low - other_high, high - other_low
            case "*":
                corners = [a * b for a in self.bounds for b in other.bounds]
                return min(corners), max(corners)
        if _wide(_hull(self.bounds, other.bounds)):
            raise Unfit(f"{operation} takes numbers of 64 bits with one sign")
        if min(low, other_low) >= 0:
            return 0, min(high, other_high) if operation == "&" else (1 << max(high, other_high).bit_length()) - 1
        return _INT64

    def _decimal(self, type: Any) -> Any:
        """The constant as a decimal, with more digits than a machine word holds."""
        from decimal import Decimal

        import pyarrow as pa

        assert isinstance(self.constant, int)
        return pa.scalar(Decimal(self.constant), type)


def number(value: int, unit: str | None = None) -> Operand:
    """A constant number. Raises Unfit for one too large for any comparison to matter."""
    if abs(value) > LARGEST:
        raise Unfit("the number is too large")
    return Operand("number", value, None, (value, value), unit)


def text(value: str) -> Operand:
    """A constant text."""
    return Operand("text", value)


TRUE, FALSE = Operand("condition", True), Operand("condition", False)


def _over_words(texts: Any, function: Callable[[Any], Any], each: bool = False) -> Any:
    """A function of texts. For a dictionary array it is computed once per word, unless it is about ``each`` row."""
    import pyarrow as pa

    if not pa.types.is_dictionary(texts.type):
        return function(texts)
    if each:
        return function(texts.cast("string"))
    return function(texts.dictionary).take(texts.indices)


def _hull(*bounds: tuple[int, int]) -> tuple[int, int]:
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _wide(bounds: tuple[int, int]) -> bool:
    """Whether no 64-bit type holds all values."""
    return not any(low <= bounds[0] and bounds[1] <= high for low, high in (_INT64, _UINT64))


def _arrow_type(bounds: tuple[int, int]) -> Any:
    import pyarrow as pa

    if _wide(bounds):
        return pa.decimal128(DIGITS, 0)
    return pa.int64() if _INT64[0] <= bounds[0] and bounds[1] <= _INT64[1] else pa.uint64()

"""Filters: a small expression language over the columns of a trace, compiled to masks over its batches.

``device == 'serial0' and size > 1``, ``reason in ('io', 'mmio') and handling > 50us``, ``UNCLAIMED and addr >= 0xcf8``.

- Names: those of :mod:`tracer.format.vocabulary` except ``payload``; the bits of ``flags`` by name, which are true or
  false.
- Values: integers in any base, times with a unit (``100ns``, ``5us``, ``1.5ms``, ``2s``), texts in quotes, True, False.
- Comparisons: ``== != < <= > >=``, also chained; ``in`` and ``not in`` a list of values, or a text within a text.
- ``and``, ``or``, ``not``; of arithmetic ``+ - *`` and the bits' ``&`` and ``|``. Numbers are whole and do not wrap.

An expression that is surely a mistake is an error, not an empty result: a value that its column cannot have, a time
without a unit, ``&`` and ``|`` where Python binds them tighter than it looks. A device matches its name, its kind
(``'serial'`` is serial0, serial1, ...) and, in a merged trace, its name with or without its machine's
(``'web/serial0'``).
"""

import ast
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import evolve, frozen

from tracer.analysis.filtertext import HEX, UNITS, FilterText
from tracer.analysis.operand import FALSE, TRUE, Operand, Unfit, number, text
from tracer.decode.names import listed, possible
from tracer.format.devicenames import called
from tracer.format.vocabulary import EXIT, FORMER, SOURCES, nearest
from vmspec.trace.record import DIRECTIONS, FLAGS, NO_DEVICE, REASONS

DEPTH = 40  # levels of its nesting

_WORDS = {"reason": REASONS, "direction": DIRECTIONS, "rw": ("r", "w", "")}
_COLUMNS = {column.name: column for column in EXIT if column.type != "binary" and column.name != "handling_ns"}
NAMES = (*(column.name for column in EXIT if column.name != "payload"), *FLAGS)
# Times that need a unit in comparisons; handling_ns has it in its name.
_CLOCKS = ("t_exit", "t_entry", "time", "handling")
_COMPARISONS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.BitAnd: "&", ast.BitOr: "|"}


class HasDevices(Protocol):
    """What a filter needs from a trace: the names of its devices."""

    @property
    def devices(self) -> Sequence[str]:
        """Names of the machine's devices."""


@frozen
class Filter:
    """A compiled expression. ``columns`` are the trace's columns that it needs, in the trace's order.

    ``decoded``: it reads columns that the trace does not have, so it takes batches of
    :func:`tracer.show.events.described`. ``parts`` are the conditions joined by ``and``, each a filter; empty for a
    single condition.
    """

    text: str
    columns: tuple[str, ...]
    _condition: Operand
    decoded: bool = False
    parts: "tuple[Filter, ...]" = ()

    def mask(self, batch: Any) -> Any:
        """The rows of a ``pyarrow.RecordBatch`` that match, as a ``pyarrow.BooleanArray`` of the batch's length."""
        import pyarrow as pa

        if self._condition.constant is not None:
            return pa.repeat(pa.scalar(bool(self._condition.constant)), batch.num_rows)
        return self._condition.values(batch)

    def apply(self, batch: Any) -> Any:
        """The rows of a ``pyarrow.RecordBatch`` that match."""
        return batch.filter(self.mask(batch))


def compile(expression: str, trace: HasDevices) -> Filter:
    """Compile an expression to a filter for batches of a trace that have the filter's ``columns``.

    Raises TraceError for an invalid expression, with the place and the nearest right name or value.
    """
    compiler = _Compiler(expression, tuple(trace.devices))
    whole = compiler.filter(compiler.tree)
    match compiler.tree:
        case ast.BoolOp(op=ast.And(), values=values):
            return evolve(whole, text=expression, parts=tuple(map(compiler.filter, values)))
    return evolve(whole, text=expression)


class _Compiler(FilterText):
    """Compiles one expression: its text and tree, and the columns found so far."""

    def __init__(self, expression: str, devices: Sequence[str]) -> None:
        super().__init__(expression)
        self.devices = devices
        self.columns: set[str] = set()

    def filter(self, node: ast.expr) -> Filter:
        """A filter of a condition."""
        self.columns = set()
        condition = self.condition(node, 0)
        needed = {source for name in self.columns for source in SOURCES.get(name, (name,))}
        columns = tuple(name for name in (column.name for column in EXIT) if name in needed)
        return Filter(self.slice(node), columns, condition, any(name in SOURCES for name in self.columns))

    def condition(self, node: ast.expr, depth: int) -> Operand:
        """An operand that is true or false."""
        operand = self._operand(node, depth)
        if operand.kind != "condition":
            raise self.wrong(node, f"{self.shown(node)} is a {operand.kind}, not a condition: compare it with a value")
        return operand

    def _operand(self, node: ast.expr, depth: int) -> Operand:
        if depth > DEPTH:
            raise self.wrong(node, "the expression is nested too deeply")
        deeper = depth + 1
        match node:
            case ast.BoolOp():
                parts = [self.condition(value, deeper) for value in node.values]
                operation = "and" if isinstance(node.op, ast.And) else "or"
                result = parts[0]
                for part in parts[1:]:
                    result = result.joined(operation, part)
                return result
            case ast.UnaryOp(op=ast.Not()):
                return self.condition(node.operand, deeper).inverted()
            case ast.UnaryOp(op=ast.USub()):
                return self._calculate(node, number(0), "-", self._operand(node.operand, deeper))
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                left, right = self._operand(node.left, deeper), self._operand(node.right, deeper)
                self._binding(node, left, right)
                return self._calculate(node, left, _ARITHMETIC[type(node.op)], right)
            case ast.Compare():
                return self._comparison(node, deeper)
            case ast.Name():
                return self._name(node)
            case ast.Constant(value=bool(value)):
                return TRUE if value else FALSE
            case ast.Constant(value=int(whole)):
                return self._fitting(node, lambda: number(whole))
            case ast.Constant(value=str(word)):
                return text(word)
            case ast.Constant(value=float()):
                raise self.wrong(node, "numbers are whole; a time has a unit: 1.5ms")
        raise self.wrong(
            node, f"{self.shown(node)} is not allowed in a filter: use columns, values, comparisons, and, or, not, in"
        )

    def _name(self, node: ast.Name) -> Operand:
        at = self.at(node)
        if at in self.times:
            return self._fitting(node, lambda: number(self.times[at], "ns"))
        name = FORMER.get(node.id, node.id)
        if name == "handling_ns":  # not the column, which wraps around
            self.columns.update(("t_entry", "t_exit"))
            return Operand.of_column(_COLUMNS["t_entry"]).calculated("-", Operand.of_column(_COLUMNS["t_exit"]))
        if name in FLAGS:
            self.columns.add("flags")
            bit = Operand.of_column(_COLUMNS["flags"]).calculated("&", number(FLAGS[name]))
            return bit.compared("!=", number(0))
        if name in _COLUMNS:
            self.columns.add(name)
            return Operand.of_column(_COLUMNS[name])
        if name == "payload":
            raise self.wrong(node, "payload cannot be compared; data has its first eight bytes")
        if name in ("None", "null", "NULL"):
            raise self.wrong(node, "no column is null; UNCLAIMED marks what no device claims")
        if name in (*self.devices, *REASONS, *DIRECTIONS):
            raise self.wrong(node, f"{name} is a text; write it in quotes: '{name}'")
        if HEX.fullmatch(name) and any(char.isdigit() for char in name):
            raise self.wrong(node, f"there is no column {name!r}; as a number in hexadecimal it is 0x{name}")
        raise self.wrong(node, f"there is no column {name!r}; {nearest(name, NAMES)}")

    def _binding(self, node: ast.BinOp, left: Operand, right: Operand) -> None:
        """Reject a ``&`` or ``|`` meant to join conditions."""
        if not isinstance(node.op, ast.BitAnd | ast.BitOr):
            return
        word = "and" if isinstance(node.op, ast.BitAnd) else "or"
        if {left.kind, right.kind} & {"condition", "text"}:
            sign = _ARITHMETIC[type(node.op)]
            raise self.wrong(node, f"{sign} combines bits, and binds tighter than ==; to join conditions: {word}")

    def _calculate(self, node: ast.expr, left: Operand, operation: str, right: Operand) -> Operand:
        for operand in (left, right):
            if operand.kind != "number":
                raise self.wrong(node, f"{operation} takes numbers, and one side of it is a {operand.kind}")
        return self._fitting(node, lambda: left.calculated(operation, right))

    def _comparison(self, node: ast.Compare, depth: int) -> Operand:
        self._joins(node)
        left_node, left = node.left, None
        result: Operand | None = None
        for operation, right_node in zip(node.ops, node.comparators, strict=True):
            left = left or self._operand(left_node, depth)
            right: Operand | None = None
            match operation:
                case ast.In() | ast.NotIn():
                    found = self._membership(left_node, left, right_node, depth)
                    found = found.inverted() if isinstance(operation, ast.NotIn) else found
                case ast.Is() | ast.IsNot():
                    raise self.wrong(right_node, "compare values with == and !=")
                case _:
                    right = self._operand(right_node, depth)
                    found = self._compared(left_node, left, _COMPARISONS[type(operation)], right_node, right)
            result = found if result is None else result.joined("and", found)
            left_node, left = right_node, right
        assert result is not None  # a Compare has at least one operator
        return result

    def _joins(self, node: ast.Compare) -> None:
        """Reject ``a > 1 & b == 2``, which is ``a > (1 & b) == 2``, and ``a == 1 | 2``, which is ``a == 3``."""
        for place, middle in enumerate(node.comparators):
            match middle:
                case ast.BinOp(op=ast.BitAnd() | ast.BitOr(), left=left, right=right) if not self._enclosed(middle):
                    sign = _ARITHMETIC[type(middle.op)]
                    bits = f"({self.slice(middle)}) if its bits are meant"
                    if place < len(node.comparators) - 1:
                        before = self.text[self.at(node) : self.end(left)]
                        after = self.text[self.at(right) : self.end(node)]
                        word = "and" if sign == "&" else "or"
                        problem = (
                            f"{sign} binds tighter than a comparison: write ({before}) {word} ({after}), or {bits}"
                        )
                        raise self.wrong(middle, problem)
                    if self._is_value(left) and self._is_value(right):
                        either = f"({self.slice(left)}, {self.slice(right)})"
                        raise self.wrong(
                            middle, f"this is a single number: for any of several values write in {either}, or {bits}"
                        )

    def _enclosed(self, node: ast.expr) -> bool:
        """Whether a node has parentheses of its own."""
        return self.text[: self.at(node)].rstrip().endswith("(")

    def _is_value(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Constant) or self.at(node) in self.times

    def _membership(self, left_node: ast.expr, left: Operand, right_node: ast.expr, depth: int) -> Operand:
        if not isinstance(right_node, ast.Tuple | ast.List | ast.Set):
            right = self._operand(right_node, depth)
            if left.column is not None and right.constant is not None:
                raise self.wrong(right_node, f"in takes a list; for one value: ({self.slice(right_node)},)")
            if left.kind == right.kind == "text":
                self._part_of(left_node, left, right)
                return self._fitting(left_node, lambda: right.contains(left))
            raise self.wrong(right_node, f"in takes a list of values, as ('io', 'mmio'), and not a {right.kind}")
        if not right_node.elts:
            raise self.wrong(right_node, "the list is empty, so nothing matches")
        result = FALSE
        for item in right_node.elts:
            found = self._compared(left_node, left, "==", item, self._operand(item, depth))
            result = result.joined("or", found)
        return result

    def _part_of(self, node: ast.expr, part: Operand, column: Operand) -> None:
        """Reject a part that no text of a column contains, if all its texts are known."""
        if column.column in ("device", *_WORDS):
            known = (*self.devices, NO_DEVICE) if column.column == "device" else _WORDS[column.column]
            if not any(str(part.constant) in word for word in known):
                raise self.wrong(node, f"no {column.column} contains {part.constant!r}; there are: {', '.join(known)}")

    def _compared(
        self, left_node: ast.expr, left: Operand, operation: str, right_node: ast.expr, right: Operand
    ) -> Operand:
        if left.kind != right.kind:
            bit = next((side.constant for side in (left, right) if side.constant in FLAGS), None)
            if bit is not None and "flags" in (left.column, right.column):
                raise self.wrong(right_node, f"flags is a number; write the name of a bit alone: {bit}")
            of_left, of_right = self.shown(left_node), self.shown(right_node)
            raise self.wrong(
                right_node, f"{of_left} is a {left.kind} and {of_right} is a {right.kind}: they cannot be compared"
            )
        if left.kind != "number" and operation not in ("==", "!="):
            raise self.wrong(right_node, f"{operation} compares numbers; a {left.kind} takes == and !=")
        if left.constant is not None and right.constant is not None:
            raise self.wrong(right_node, "the comparison has two values and no column")
        if left.kind == "text":
            if left.column is None:  # the column is on the left from here on
                left_node, left, right_node, right = right_node, right, left_node, left
            if left.column is not None and isinstance(right.constant, str):
                return self._named(left, operation, right_node, right.constant)
        if left.kind == "number":
            self._sensible(left_node, left, operation, right_node, right)
            self._sensible(right_node, right, _MIRRORED[operation], left_node, left)
        return self._fitting(right_node, lambda: left.compared(operation, right))

    def _sensible(self, node: ast.expr, column: Operand, operation: str, value_node: ast.expr, value: Operand) -> None:
        """Reject a number that a column never has, and a time compared without a unit."""
        if not isinstance(value.constant, int) or column.constant is not None:
            return
        if value.unit is not None and value.unit != column.unit:
            return  # comparing them reports that
        clocks = [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and part.id in _CLOCKS]
        if column.unit == "ns" and value.unit is None and value.constant and clocks:
            written = self.slice(value_node)
            units = ", ".join(written + unit for unit in UNITS)
            raise self.wrong(value_node, f"{clocks[0]} is a time; write a unit: {units}")
        if column.column is None:
            return
        low, high = column.bounds
        match operation:
            case "==" | "!=":
                fits = low <= value.constant <= high
            case "<":
                fits = low < value.constant
            case "<=":
                fits = low <= value.constant
            case ">":
                fits = value.constant < high
            case _:
                fits = value.constant <= high
        if not fits:
            raise self.wrong(value_node, f"{column.column} is from {low} to {high}: no exit has {column.column} "
                              f"{operation.replace('!=', '==')} {self.slice(value_node)}")  # fmt: skip

    def _named(self, column: Operand, operation: str, node: ast.expr, value: str) -> Operand:
        """A text column compared with a value, which must be one that the column can have."""
        name = column.column or ""
        meant = [value]
        match name:
            case "device":
                known: Sequence[str] = (*self.devices, NO_DEVICE)
                meant = [device for device in known if value in called(device)]
            case "what":
                if not possible(value):
                    raise self.wrong(node, f"nothing is called {value!r}; {nearest(value, sorted(listed()), most=8)}")
                known = meant
            case "meaning" | "value":
                known = meant
            case _:
                known = _WORDS[name]
        if not meant or meant[0] not in known:
            hint = nearest(value, known)
            if hint.startswith("did") and name != "reason":  # there are forty reasons
                hint += f" There are: {', '.join(known)}"
            raise self.wrong(node, f"no {name} is called {value!r}; {hint}")
        found = FALSE
        for device in meant:
            found = found.joined("or", column.compared("==", text(device)))
        return found.inverted() if operation == "!=" else found

    def _fitting(self, node: ast.expr, make: Callable[[], Operand]) -> Operand:
        try:
            return make()
        except Unfit as error:
            raise self.wrong(node, str(error)) from None

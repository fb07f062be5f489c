"""The text of a filter: parsed into Python's syntax tree, and quoted in errors with its place."""

import ast
import re
import warnings

from tracer.format.errors import TraceError
from vmspec.host.printable import printable

LENGTH = 2000  # characters of an expression, at most

UNITS = ("ns", "us", "ms", "s")
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_TOKEN = re.compile(
    r"""(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?<![\w.])(?P<time>\d[\d_]*(?:\.\d+)?(?:ns|us|µs|ms|s))(?!\w)
    |(?<![\w.])(?P<spaced>\d[\d_]*(?:\.\d+)?[ ]+(?:ns|us|µs|ms|s))(?!\w)
    |(?<![\w.])(?P<odd>\d(?![xXbBoO])\w*[^\W\d]\w*)
    |(?P<operator>&&|\|\||!(?!=))
    |(?P<other>[\n#])""",
    re.VERBOSE,
)
HEX = re.compile(r"[0-9a-fA-F]+")
_OPERATORS = {"&&": "and", "||": "or", "!": "not"}


class FilterText:
    """An expression, its syntax tree, and its times in ns, by their place in the text."""

    def __init__(self, expression: str) -> None:
        self.text = expression
        self.times: dict[int, int] = {}
        if len(expression) > LENGTH:
            raise self.wrong(LENGTH, f"the expression has {len(expression):,} characters; at most {LENGTH:,} are read")
        self._start = len(expression) - len(expression.lstrip())
        self._source = _TOKEN.sub(self._token, expression)[self._start :].rstrip()
        if not self._source:
            raise self.wrong(0, "the expression is empty; for example: device == 'serial0' and size > 1")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's warnings; what is wrong is rejected below
                self.tree = ast.parse(self._source, mode="eval").body
        except SyntaxError as error:
            # 0 if something is missing at the end.
            at = self._start + (error.offset - 1 if error.offset else len(self._source))
            raise self.wrong(
                at, f"{error.msg} (the words are and, or, not, in; == compares; texts need quotes)"
            ) from None
        except (ValueError, UnicodeError):  # a NUL, a lone surrogate
            raise self.wrong(0, "the expression has an invalid character") from None
        except (RecursionError, MemoryError):
            raise self.wrong(0, "the expression is nested too deeply") from None

    def _token(self, match: re.Match[str]) -> str:
        """The text that Python's grammar gets for a piece; it has the same length, so that places stay."""
        if match["other"] == "#":
            raise self.wrong(match.start(), "a filter has no comments")
        if match["other"]:
            return " "
        if match["operator"]:
            raise self.wrong(match.start(), f"{match[0]} is not an operator here: write {_OPERATORS[match[0]]}")
        if match["spaced"]:
            raise self.wrong(match.start(), f"write a time and its unit without a blank: {match[0].replace(' ', '')}")
        if match["odd"]:
            raise self.wrong(match.start(), _odd(match[0]))
        if match["time"] is None:
            return match[0]
        unit = next(unit for unit in ("ns", "us", "µs", "ms", "s") if match[0].endswith(unit))
        whole, _, part = match[0].removesuffix(unit).replace("_", "").partition(".")
        value = int(whole + part) * _UNITS[unit] if len(whole + part) <= 30 else -1
        if value < 0 or value % 10 ** len(part):
            raise self.wrong(match.start(), f"{match[0]} is not a whole number of nanoseconds, or too large")
        self.times[match.start()] = value // 10 ** len(part)
        return "_" * len(match[0])

    def at(self, node: ast.expr) -> int:
        """Where a node begins in the text; Python counts bytes."""
        lines = self._source.encode(errors="replace")
        return self._start + len(lines[: node.col_offset].decode(errors="replace"))

    def end(self, node: ast.expr) -> int:
        """Where a node ends in the text."""
        return self.at(node) + (node.end_col_offset or 0) - node.col_offset

    def slice(self, node: ast.expr) -> str:
        """A node's part of the text."""
        return self.text[self.at(node) : self.end(node)]

    def shown(self, node: ast.expr) -> str:
        """That part for a message, cut to 40 characters."""
        shown = self.slice(node)
        return repr(shown if len(shown) <= 40 else shown[:37] + "...")

    def wrong(self, place: ast.expr | int, problem: str) -> TraceError:
        """An error that names the place and shows it."""
        at = place if isinstance(place, int) else self.at(place)
        start = max(0, at - 60)  # of a long expression, the part around the place
        before, after = printable(self.text[start:at]), printable(self.text[at : at + 30])
        return TraceError(f"filter, column {at + 1}: {problem}", f"    {before}{after}", f"    {' ' * len(before)}^")


def _odd(word: str) -> str:
    """The message for a number with letters that are neither hexadecimal digits after 0x nor a unit."""
    digits = word.rstrip("hH")
    if HEX.fullmatch(digits):
        return f"{word!r} is not a number; in hexadecimal it is 0x{digits}"
    unit = word.lstrip("0123456789_")
    return f"{word!r} is not a number: {unit!r} is not one of the units {', '.join(UNITS)}; hexadecimal begins with 0x"

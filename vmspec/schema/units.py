"""Sizes, durations and addresses as people write them: "512MiB", "60s", "0x1000".

The parsers raise ValueError with a message for the user. The formatters write the shortest exact form, which the
parsers read back to the same number.
"""

import re

# Binary units only (IEC 80000-13): memory comes in powers of two.
SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
# In nanoseconds.
DURATIONS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}

SIZE_PATTERN = r"[0-9]{1,18}(\.[0-9]{1,18})? ?(B|KiB|MiB|GiB|TiB)"
DURATION_PATTERN = r"[0-9]{1,18}(\.[0-9]{1,18})? ?(ns|us|ms|s|min|h)"
ADDRESS_PATTERN = r"0[xX][0-9A-Fa-f]{1,16}"

# Common other spellings of units.
_MEANT = {"m": "min", "sec": "s", "seconds": "s", "minutes": "min", "mins": "min", "hours": "h", "µs": "us"}


def parse_size(text: str) -> int:
    """Bytes of a size such as "512MiB" or "1.5GiB"."""
    number, unit = _split(text)
    if unit in SIZES:
        return _whole(number, SIZES[unit], "bytes")
    match unit.lower():
        case "":
            raise ValueError(f"the unit is missing: write {number}MiB, or the bytes as a number")
        case "k" | "m" | "g" | "t" | "kb" | "mb" | "gb" | "tb" | "kib" | "mib" | "gib" | "tib" as lower:
            raise ValueError(f"sizes are in powers of 1024: write {number}{lower[0].upper()}iB")
    raise ValueError(f"{unit[:20]} is not a unit of size")


def format_size(size: int) -> str:
    """The size in the largest unit that divides it; "0B" for none."""
    return _format(size, SIZES)


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration such as "60s" or "1.5min"."""
    number, unit = _split(text)
    if unit in DURATIONS:
        return _whole(number, DURATIONS[unit], "nanoseconds")
    if unit == "":
        raise ValueError(f"the unit is missing: write {number}s, or the seconds as a number")
    if unit.lower() in DURATIONS or unit.lower() in _MEANT:
        raise ValueError(f"write {number}{_MEANT.get(unit.lower(), unit.lower())}")
    raise ValueError(f"{unit[:20]} is not a unit of time")


def format_duration(duration: int) -> str:
    """The duration in the largest unit that divides it; "0ns" for none."""
    return _format(duration, DURATIONS)


def parse_address(text: str) -> int:
    """The number of a hexadecimal text with 0x."""
    if re.fullmatch(ADDRESS_PATTERN, text) is None:
        raise ValueError("must be hexadecimal, with 0x, of 16 digits at most")
    return int(text, 16)


def _split(text: str) -> tuple[str, str]:
    """A number and the unit behind it."""
    found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?([^\W0-9_]*)", text)
    if found is None:
        raise ValueError("must be a number and a unit")
    return found[1], found[2]


def _whole(number: str, unit: int, what: str) -> int:
    """The number times the unit, exactly."""
    integer, _, fraction = number.partition(".")
    scaled, rest = divmod(int(integer + fraction) * unit, int(10 ** len(fraction)))
    if rest:
        raise ValueError(f"is not a whole number of {what}")
    return scaled


def _format(number: int, units: dict[str, int]) -> str:
    """The number in the largest of the units, which are given in rising order, that divides it."""
    largest = max((unit for unit in units.values() if number and number % unit == 0), default=1)
    return f"{number // largest}{next(name for name, unit in units.items() if unit == largest)}"

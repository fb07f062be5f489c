"""Numbers as the tools write them."""

import re

UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def size(text: str, unit: str) -> int | None:
    """Bytes of a size such as "512M" or "1.5G", in ``unit`` if it names none; None if it is not a size."""
    found = re.fullmatch(r"([0-9]{1,18})(\.[0-9]{1,9})?([bkmgtp]?)(?:ib)?", text.strip(), re.IGNORECASE | re.ASCII)
    shift = UNITS.get((found[3] or unit).lower()) if found is not None else None
    if found is None or shift is None:
        return None
    return (int(found[1]) << shift) + int(float(found[2] or 0) * (1 << shift))


def whole(text: str) -> int | None:
    """A number, in decimal or with 0x; None if it is not one."""
    if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        return int(text)
    return int(text, 16) if re.fullmatch(r"0[xX][0-9A-Fa-f]{1,16}", text) else None

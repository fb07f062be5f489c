"""Text chosen by a guest or a file, made safe to print: no character acts on a terminal."""


def printable(text: object) -> str:
    """The text with an escape for each character that does not print as itself: ``\x1b``, ``\t``, ``\u202e``.

    These are controls (C0 and C1), line ends, directional and other format characters, unassigned characters, and bytes
    of a path that are not UTF-8 (``\xff``).
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # how Python represents a byte that is not UTF-8 (PEP 383)
        code -= 0xDC00
    match char:
        case "\t":
            return r"\t"
        case "\n":
            return r"\n"
        case "\r":
            return r"\r"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class PrintableError(Exception):
    """An error whose message is safe to print: a line for each argument."""

    def __init__(self, *lines: object) -> None:
        super().__init__(*map(printable, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)

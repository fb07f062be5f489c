"""The one error of this package."""


class TraceError(Exception):
    """A trace cannot be written, read or recovered. The message says what, where, and what can be done."""

"""Ports for debugging a guest: the PC's POST port, Bochs' debug console, QEMU's isa-debug-exit."""

POST_PORT = 0x80
DEBUG_PORT = 0xE9  # by default
PRESENT = 0xE9  # value of a read of the debug port, by which a guest detects it
EXIT_PORT = 0xF4  # by default


def exit_status(value: int) -> int:
    """The exit status that a write to the debug-exit device asks for."""
    return (value << 1 | 1) & 0xFF

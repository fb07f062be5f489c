"""Specs from the configurations of other virtual machine monitors, and back."""

# The readers of vmspec import, a module for each tool. They have of_text(text, file), and those of command lines
# of_words(words).
READERS = {
    "lkvm": "vmspec.exchange.lkvm",
    "qemu": "vmspec.exchange.qemu.reader",
}

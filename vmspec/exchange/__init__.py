"""Specs from the configurations of other virtual machine monitors, and back."""

# The readers of vmspec import, a module for each tool. They have of_text(text, file), and those of command lines
# of_words(words).
READERS = {
    "cloud-hypervisor": "vmspec.exchange.cloudhypervisor",
    "firecracker": "vmspec.exchange.firecracker",
    "libvirt": "vmspec.exchange.libvirt",
    "lkvm": "vmspec.exchange.lkvm",
    "qemu": "vmspec.exchange.qemu.reader",
}

# The writers of vmspec export, a module for each tool. They have write(source).
WRITERS = {
    "qemu": "vmspec.exchange.export.qemu",
    "libvirt": "vmspec.exchange.export.libvirt",
    "firecracker": "vmspec.exchange.export.firecracker",
    "lkvm": "vmspec.exchange.export.lkvm",
}

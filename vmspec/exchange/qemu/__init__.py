"""QEMU's command line."""

"""Snapshots: the whole state of a machine in a file, from which another machine goes on."""

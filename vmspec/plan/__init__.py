"""The plan: all parts of a machine."""

"""Locks: what a spec's run depends on, written beside the spec, and compared with what a run would be now."""

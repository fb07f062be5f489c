"""Traces as they are read, followed, merged and recovered."""

"""Specs as a test suite: collected, run, judged, and reported."""

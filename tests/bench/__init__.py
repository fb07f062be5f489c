"""Measurements: ``python -m tests.bench``. Ratios within one run; nothing here passes or fails."""

"""The report: a trace as one self-contained HTML page. ``data`` collects, ``page`` renders."""

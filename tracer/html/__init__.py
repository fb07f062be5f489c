"""The report: a trace as one HTML page that needs nothing beside it. ``data`` gathers, ``page`` renders."""

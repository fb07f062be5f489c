"""The host, for all three commands: standard streams, threads, paths as text."""

"""The host as all three commands meet it: standard streams, threads, paths as text."""

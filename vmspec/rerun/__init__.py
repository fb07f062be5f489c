"""Running again what a trace recorded: its spec, with images that are found by their hashes."""

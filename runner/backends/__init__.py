"""The host's side of devices."""

"""Device models of a spec, and their claims on the buses."""

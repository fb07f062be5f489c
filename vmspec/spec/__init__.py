"""The spec: frozen models, from files and texts."""

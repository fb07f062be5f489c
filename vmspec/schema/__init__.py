"""How a TOML document is read: values, their places, and problems."""

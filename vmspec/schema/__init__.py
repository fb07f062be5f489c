"""How a TOML document is read: values, where they stand, and what can be wrong with them."""

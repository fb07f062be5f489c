"""User devices: where a class is, from its name in a spec."""

from pathlib import Path


def module(name: str, directory: Path) -> Path:
    """The file of the class ``name``, module:Class, for a spec in ``directory``."""
    return directory.joinpath(*name.partition(":")[0].split(".")).with_suffix(".py")

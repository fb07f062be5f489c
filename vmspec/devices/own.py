"""User devices: where a class is, from its name in a spec."""

from pathlib import Path


def module(name: str, directory: Path) -> Path:
    """The file of the class ``name``, module:Class, for a spec in ``directory``."""
    return directory.joinpath(*name.partition(":")[0].split(".")).with_suffix(".py")


def source(device: str, file: Path, directory: Path) -> str:
    """The name of a file that a device was made from, in traces and locks, for a spec in ``directory``."""
    return f"{device}/{file.relative_to(directory) if file.is_relative_to(directory) else file.name}"

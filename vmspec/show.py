"""The resolved spec as TOML."""

from vmspec.models import Spec
from vmspec.tables import write_model


def dumps(spec: Spec) -> str:
    """The spec with its defaults and absolute paths, as TOML that reads back to an equal spec."""
    import tomli_w  # only what is shown needs it

    table = write_model(spec)
    devices = table.pop("device", [])
    text = tomli_w.dumps(table)
    for device in devices:
        # tomli_w would write short tables of an array in one line each; as people write devices, each has a header.
        # Tables within, such as [device.options], belong to the element before them.
        text += "\n[" + tomli_w.dumps({"device": device}).replace("[device]", "[device]]", 1)
    return text

"""The C extension. If it is missing, the ImportError says why and what to do; its name is the extension's."""

from importlib import import_module
from pathlib import Path

NAME = "runner.native._native"
UNBUILT = Path(__file__).with_name("unbuilt.txt")  # setup.py writes the reason here

try:
    import_module(NAME)
except ImportError as error:
    try:
        reason = f"when it was installed, the C extension could not be built: {UNBUILT.read_text().strip()}"
    except OSError:
        reason = f"its C extension cannot be loaded: {error}"
    raise ImportError(
        f"this installation of vmrun cannot run machines: {reason}. Fix that and reinstall vmrun: pip install "
        "--force-reinstall --no-deps, from its sources. vmspec and vmtrace work without it.",
        name=NAME,
    ) from None

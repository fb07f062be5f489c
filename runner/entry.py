"""Where the ``vmrun`` command begins: the time from exec to the first KVM_RUN is a figure of the product."""

import gc

# Imports make classes and code, no garbage; looking for some takes a tenth of the start. runner.cli turns it on again.
gc.disable()

from runner.cli import main  # noqa: E402 - after what it is to profit from

__all__ = ["main"]

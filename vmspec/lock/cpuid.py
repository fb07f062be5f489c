"""``vmspec cpuid``: write a CPU model, of this host or of several."""

from collections.abc import Sequence
from pathlib import Path

from vmspec.host.atomic import replaced
from vmspec.host.commandline import complain
from vmspec.lock.host import HostUnknownError, facts
from vmspec.plan import cpu_model, cpu_model_file
from vmspec.plan.settings import PlannedCPU

DIFFERENT, UNKNOWN = 1, 3  # exit statuses


def run(models: Sequence[Path] | None, output: Path | None) -> int:
    """Write the common model of some, or that of this host; return the exit status. Raises SpecError for a file that is
    no model, OSError if the result cannot be written."""
    if models:
        try:
            leaves = cpu_model.common([cpu_model_file.load(path) for path in models])
        except ValueError as error:
            complain("vmspec", f"these processors have no common model: one lacks {error}")
            return DIFFERENT
    else:
        try:
            leaves = facts(PlannedCPU()).must.cpuid
        except HostUnknownError as error:
            complain("vmspec", error)
            return UNKNOWN
    text = cpu_model_file.dumps(leaves)
    if output is None:
        print(text, end="")
        return 0
    with replaced(output) as file:
        file.write(text.encode())
    return 0

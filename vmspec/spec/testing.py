"""The table ``[test]``: what ``vmrun test`` must know of a spec beside the machine."""

from pathlib import Path

from attrs import field, frozen

from vmspec.schema.value import Model, key
from vmspec.schema.values import File, Integer, Many, Text

HARDWARE = "hardware"


@frozen(eq=False, repr=False)
class Testing(Model):
    """How vmrun test runs the spec."""

    needs: tuple[str | Path, ...] = field(
        default=(),
        metadata=key(
            Many(File(HARDWARE)),
            "what the host must have; where something is missing, vmrun test skips the spec and reports what: a file, "
            "such as an image that another program makes, /dev/net/tun, or /sys/class/net/tap0; hardware: a processor "
            "that virtualizes (vmx or svm in /proc/cpuinfo), which Linux guests need",
        ),
    )
    skip: str | None = field(
        default=None, metadata=key(Text(line=True), "do not run the spec in vmrun test, for this reason")
    )
    status: int = field(
        default=0, metadata=key(Integer(0, 255), "the exit status of vmrun with which the test has passed")
    )

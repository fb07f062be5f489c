"""How a run can end: the table of kinds, shared by the spec, the runner and the readers."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

# The ends that a device may request for the guest.
DeviceEnd = Literal["reset", "poweroff", "halt", "debug-exit", "guest-panic"]
EndKind = Literal[
    DeviceEnd,
    "triple-fault",
    "internal-error",
    "fail-entry",
    "unexpected-exit",
    "timeout",
    "spun",
    "kvm-error",
    "device-error",
    "backend-lost",
    "interrupted",
    "console-closed",
    "console-failed",
    "capture-failed",
    "trace-failed",
]


class End(NamedTuple):
    """A kind of end. ``expected``: a spec may expect it. ``crash``: the guest has crashed, unless the spec expects
    that."""

    doc: str
    expected: bool = False
    crash: bool = False


KINDS: Mapping[EndKind, End] = {
    "reset": End("the guest reset the machine", expected=True),
    "poweroff": End("the guest turned the machine off", expected=True),
    "halt": End("every vCPU has halted, and nothing can wake one", expected=True),
    "debug-exit": End("the guest wrote its status to the debug-exit device", expected=True),
    "triple-fault": End(
        "a vCPU shut down: a fault occurred during the delivery of a double fault", expected=True, crash=True
    ),
    "timeout": End("the guest did not end within vm.timeout", expected=True),
    "spun": End("with virtual time, the guest made no exit for vm.spin, so its time stood still", expected=True),
    "guest-panic": End("the guest reported its own crash, to KVM or to a device", crash=True),
    "internal-error": End("KVM could not continue (KVM_EXIT_INTERNAL_ERROR)", crash=True),
    "fail-entry": End("the processor could not enter the guest (KVM_EXIT_FAIL_ENTRY)", crash=True),
    "unexpected-exit": End("KVM_RUN returned an exit that vmrun does not handle", crash=True),
    "kvm-error": End("KVM_RUN failed, or did not return when the run ended"),
    "device-error": End("a device model failed"),
    "backend-lost": End("the process that served a device has ended, or failed"),
    "interrupted": End("a signal, Ctrl-A x or the caller ended the run"),
    "console-closed": End("the reader of the console has closed it"),
    "console-failed": End("the console could not be written"),
    "capture-failed": End("a capture of a network could not be written"),
    "trace-failed": End("the trace could not be written"),
}
ENDS = tuple(kind for kind, end in KINDS.items() if end.expected)
CRASHES = frozenset(kind for kind, end in KINDS.items() if end.crash)
DEVICE_ENDS: tuple[DeviceEnd, ...] = get_args(DeviceEnd)

"""What it means for a machine that a vCPU has made its last exit."""

from runner.kvm.ioctl import lib
from runner.machine.result import Ending
from runner.machine.vcpu import VcpuThread
from vmspec.trace.record import REASONS

# The system events that vmrun's guests never cause (linux/kvm.h, KVM_SYSTEM_EVENT_*).
SYSTEM_EVENTS = {4: "WAKEUP", 5: "SUSPEND", 6: "SEV_TERM", 7: "TDX_FATAL"}


def ending_of(thread: VcpuThread, *, last: bool) -> Ending | None:
    """How the end of a vCPU's thread ends the machine; None: the machine continues. ``last``: no other vCPU runs."""
    if thread.failure is not None:
        return Ending("device-error", detail=f"vCPU {thread.index}: {thread.failure!r}")
    if thread.outcome == lib.VCPU_STOPPED:
        return None
    if thread.outcome == lib.VCPU_FAILED:
        return Ending("kvm-error", detail=f"KVM_RUN of vCPU {thread.index} failed: {thread.error}")
    match thread.exit_reason:
        case lib.KVM_EXIT_HLT:
            # Without an interrupt controller nothing wakes a halted vCPU. The machine ends when its last vCPU halts.
            return Ending("halt") if last else None
        case lib.KVM_EXIT_SHUTDOWN:
            return Ending("triple-fault", detail=f"vCPU {thread.index} triple-faulted")
        case lib.KVM_EXIT_SYSTEM_EVENT:
            match thread.system_event():
                case lib.KVM_SYSTEM_EVENT_SHUTDOWN:
                    return Ending("poweroff")
                case lib.KVM_SYSTEM_EVENT_RESET:
                    return Ending("reset")
                case lib.KVM_SYSTEM_EVENT_CRASH:
                    return Ending("guest-panic", detail=f"vCPU {thread.index}: the guest reported its own crash")
                case event:
                    name = SYSTEM_EVENTS.get(event, f"of type {event}")
                    detail = f"KVM_EXIT_SYSTEM_EVENT {name}, which vmrun does not handle"
                    return Ending("unexpected-exit", detail=detail)
        case lib.KVM_EXIT_FAIL_ENTRY:
            reason = thread.hardware_reason()
            return Ending("fail-entry", detail=f"the processor could not enter the guest: reason {reason:#x}")
        case lib.KVM_EXIT_INTERNAL_ERROR:
            suberror, words = thread.suberror()
            detail = internal_error(thread.index, suberror) + "".join(f" {word:#x}" for word in words)
            return Ending("internal-error", detail=detail)
        case reason:
            name = REASONS[reason] if reason < len(REASONS) else str(reason)
            return Ending("unexpected-exit", detail=f"KVM_EXIT_{name.upper()}, which vmrun does not handle")


def internal_error(index: int, suberror: int) -> str:
    """Describe a KVM_EXIT_INTERNAL_ERROR (linux/kvm.h, KVM_INTERNAL_ERROR_*)."""
    match suberror:
        case 1:
            what = "this host's KVM cannot execute an instruction of the guest"
        case 2:
            what = "an exception occurred while KVM delivered another"
        case 3:
            what = "KVM could not deliver an event"
        case 4:
            what = "the processor reported an exit reason that KVM does not know"
        case _:
            what = "KVM gave up"
    return f"vCPU {index}: {what} (KVM_EXIT_INTERNAL_ERROR, suberror {suberror})"

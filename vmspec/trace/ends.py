"""How a run can end."""

# Ways a run can end that a spec may expect.
ENDS = ("reset", "poweroff", "halt", "debug-exit", "triple-fault", "timeout")
# Ends that are a crash of the guest, unless the spec expects them.
CRASHES = frozenset({"triple-fault", "guest-panic", "internal-error", "fail-entry", "unexpected-exit"})

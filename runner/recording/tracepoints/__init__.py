"""The kernel's own events of the vCPU threads: KVM's tracepoints through perf events, whose rings are drained in C."""

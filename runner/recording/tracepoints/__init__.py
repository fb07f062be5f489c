"""KVM's tracepoints on the vCPU threads, through perf events whose rings are drained in C."""

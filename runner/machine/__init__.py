"""The machine: vCPUs, buses and memory on KVM."""

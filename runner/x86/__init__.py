"""What is the processor's own: CPUID and register state."""

"""The processor: CPUID and register state."""

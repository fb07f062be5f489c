"""A running machine as an ELF core file: guest memory, and the registers of each vCPU."""

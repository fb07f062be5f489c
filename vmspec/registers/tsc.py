"""A port that stands for the processor's time-stamp counter (TSC), which KVM does not let vmrun intercept.

vmrun replaces RDTSC by IN AL of this port, and loads EDX:EAX with the counter, as RDTSC does (Intel SDM volume 2,
RDTSC).
"""

PORT = 0xE7  # by default: no device of a PC's has it
RDTSC = bytes.fromhex("0f31")
IN = 0xE4  # IN AL, imm8: as long as RDTSC, and it changes no flags either
PORTS = 1 << 8  # that it reaches

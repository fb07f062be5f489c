"""Flat guests, as GNU as takes them, that poll the serial port (the UART at 0x3f8) for what comes in."""

# The next byte that comes, in %al; %dx is then the UART's data register.
RECEIVE = """
9:  mov $0x3fd, %dx     # line status
    in %dx, %al
    test $1, %al        # data ready
    jz 9b
    mov $0x3f8, %dx
    in %dx, %al
"""
# Sends back what comes until a q.
ECHO = f"""
1:  {RECEIVE}
    out %al, %dx
    cmp $'q', %al
    jne 1b
    hlt
"""
# Prints what comes on the debug port, for ever.
PRINT = f"""
1:  {RECEIVE}
    out %al, $0xe9
    jmp 1b
"""

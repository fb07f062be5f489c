"""Guests for virtual time: what they do follows from nothing but themselves, whatever the host does meanwhile."""

from datetime import UTC, datetime

VIRTUAL = {"time": "virtual", "timeout": "120s"}
POST, DEBUG = {"kind": "post-port"}, {"kind": "debug-port"}
RTC = {"kind": "rtc", "time": datetime(2026, 1, 1, 12, 0, tzinfo=UTC)}

# Vectors 0x30 and 0x38, only timer and clock not masked; as Linux starts the controllers.
CONTROLLERS = """
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7000, %sp
    movw $timer, 0x30*4
    movw %ax, 0x30*4+2
    movw $clock, 0x38*4
    movw %ax, 0x38*4+2
    mov $0x11, %al; out %al, $0x20; out %al, $0xa0
    mov $0x30, %al; out %al, $0x21
    mov $0x38, %al; out %al, $0xa1
    mov $0x04, %al; out %al, $0x21
    mov $0x02, %al; out %al, $0xa1
    mov $0x01, %al; out %al, $0x21; out %al, $0xa1
    mov $0xfe, %al; out %al, $0xa1
    mov $0xfa, %al; out %al, $0x21
"""
# In interrupts, the guest counts and ends them; the clock's also reads register C.
HANDLERS = """
timer:
    sti
    push %ax
    incw count
    in $0x21, %al
    mov $0x20, %al; out %al, $0x20
    pop %ax
    iret
clock:
    sti
    push %ax
    incw count
    mov $0x20, %al; out %al, $0xa0; out %al, $0x20
    mov $0x0c, %al; out %al, $0x70; in $0x71, %al
    pop %ax
    iret
count: .word 0
"""
# Timer (1 ms) and clock (1024 Hz) interrupt a loop that shows the timer's count and disturbs itself; each 64th turn it
# waits for an interrupt.
CONTRACT = (
    CONTROLLERS
    + """
    mov $0x34, %al; out %al, $0x43
    mov $(1193 & 255), %al; out %al, $0x40
    mov $(1193 >> 8), %al; out %al, $0x40
    mov $0x0b, %al; out %al, $0x70; mov $0x42, %al; out %al, $0x71
    mov $0x0c, %al; out %al, $0x70; in $0x71, %al
    mov $TURNS, %cx
    sti
turn:
    xor %al, %al; out %al, $0x43
    in $0x40, %al; out %al, $0x80
    in $0x40, %al; out %al, $0x80
    test $63, %cl
    jnz 1f
    mov $0x500, %dx; out %al, %dx
    mov $0x2e, %al; out %al, $0xe9
    hlt
1:  loop turn
    mov count, %ax
    out %ax, $0x80
    cli
    hlt
"""
    + HANDLERS
)
SLEEPER = """
import random
import time

from runner.devices import Device


class Sleeper(Device):
    def write(self, region, offset, size, value):
        time.sleep(random.random() / 300)
"""
CONTRACT_DEVICES = [RTC, POST, DEBUG, {"kind": "python", "class": "sleeper:Sleeper", "port": [0x500, 1]}]
# In long mode: a pointer at 0x3000, through which the guest calls, comes to point to UD2; there is no handler.
TRIPLE_FAULT = """
    mov $0x8000, %esp
    lidt none
    movl $target, 0x3000
    call *0x3000
    out %al, $0x80
    movw $0x0b0f, 0x3010
    nop
    movl $0x3010, 0x3000
    out %al, $0x80
    call *0x3000
target:
    ret
none:
    .word 0
    .quad 0
"""

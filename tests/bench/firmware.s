# A 64 KiB firmware for QEMU's microvm that enters protected mode, as vmrun starts a flat guest, and goes on at 0x100.
    .code16
start:
    cli
    lgdtl %cs:table - start
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $8, $(0xffff0000 + flat - start)
    .balign 8
descriptors:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
table:
    .word table - descriptors - 1
    .long 0xffff0000 + descriptors - start
    .code32
flat:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    .org 0x100
    .org 0xfff0
    .code16
    jmp start
    .org 0x10000

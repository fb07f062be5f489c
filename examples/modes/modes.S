# Prints a letter in real mode, protected mode and long mode: R, P, L.
# The Makefile assembles it as a flat image at 0x1000.

        .equ    PORT, 0xe9
        .equ    PML4, 0x10000           # page tables, one per level: they map the first GiB by 2 MiB pages
        .equ    PDPT, 0x11000
        .equ    PD,   0x12000

        .code16
        .globl  start
start:  cli
        xor     %ax, %ax
        mov     %ax, %ds
        mov     $'R', %al
        out     %al, $PORT

        lgdtl   gdtr
        mov     %cr0, %eax
        or      $1, %eax                # CR0.PE
        mov     %eax, %cr0
        ljmpl   $8, $protected

        .code32
protected:
        mov     $16, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0x8000, %esp
        mov     $'P', %al
        out     %al, $PORT

        movl    $(PDPT + 3), PML4       # present, writable
        movl    $(PD + 3), PDPT
        mov     $PD, %edi
        mov     $0x83, %eax             # present, writable, 2 MiB
1:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        cmp     $(PD + 4096), %edi
        jne     1b

        mov     %cr4, %eax
        or      $0x20, %eax             # CR4.PAE
        mov     %eax, %cr4
        mov     $PML4, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx       # EFER
        rdmsr
        or      $0x100, %eax            # EFER.LME
        wrmsr
        mov     %cr0, %eax
        or      $0x80000000, %eax       # CR0.PG: compatibility mode from here
        mov     %eax, %cr0
        ljmp    $24, $long

        .code64
long:   mov     $'L', %al
        out     %al, $PORT
        mov     $'\n', %al
        out     %al, $PORT
        hlt

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9a000000ffff      # 8: 32-bit code
        .quad   0x00cf92000000ffff      # 16: data
        .quad   0x00af9a000000ffff      # 24: 64-bit code
gdtr:   .word   . - gdt - 1
        .long   gdt

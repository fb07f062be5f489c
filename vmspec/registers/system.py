"""The processor's system registers: Intel SDM volume 3, 2.3 and 2.5; EFER is the AMD64 APM's (volume 2, 3.1.7)."""

RFLAGS_VM = 1 << 17  # virtual-8086 mode

CR0_PE = 1 << 0  # protected mode
CR0_ET = 1 << 4  # always one
CR0_NW = 1 << 29  # not write-through
CR0_CD = 1 << 30  # caches disabled
CR0_PG = 1 << 31  # paging

CR4_PAE = 1 << 5  # 64-bit page table entries

EFER_SCE = 1 << 0  # SYSCALL
EFER_LME = 1 << 8  # long mode enabled
EFER_LMA = 1 << 10  # long mode active
EFER_NXE = 1 << 11  # no-execute pages
EFER_SVME = 1 << 12  # SVM
EFER_LMSLE = 1 << 13  # segment limits in long mode
EFER_FFXSR = 1 << 14  # fast FXSAVE
EFER_TCE = 1 << 15  # translation cache extension

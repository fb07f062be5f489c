"""Names of the processor's exits to KVM, by its virtualisation extension.

SVM: AMD64 Architecture Programmer's Manual volume 2, appendix C. VMX: Intel SDM volume 3, appendix C. Names are those
of Linux's asm/svm.h and asm/vmx.h (SVM_EXIT_*, EXIT_REASON_*) in lower case.
"""

# KVM_ISA_*: values of the kvm_exit tracepoint's field `isa` (Linux, arch/x86/kvm/trace.h).
ISA_VMX, ISA_SVM = 1, 2

# Vectors with an exception of their own (APM volume 2, table 8-1).
EXCEPTIONS = {
    0: "de", 1: "db", 3: "bp", 4: "of", 5: "br", 6: "ud", 7: "nm", 8: "df", 10: "ts", 11: "np", 12: "ss", 13: "gp",
    14: "pf", 16: "mf", 17: "ac", 18: "mc", 19: "xf", 21: "cp", 28: "hv", 29: "vc", 30: "sx",
}  # fmt: skip


def _numbered(names: str, first: int = 0) -> dict[int, str]:
    """Names of successive codes; "-" for an unused code."""
    return {code: name for code, name in enumerate(names.split(), first) if name != "-"}


SVM = {
    **{code: f"read_cr{code}" for code in range(16)},
    **{0x10 + number: f"write_cr{number}" for number in range(16)},
    **{0x20 + number: f"read_dr{number}" for number in range(16)},
    **{0x30 + number: f"write_dr{number}" for number in range(16)},
    **{0x40 + vector: f"excp_{EXCEPTIONS.get(vector, vector)}" for vector in range(32)},
    **_numbered(
        "intr nmi smi init vintr cr0_sel_write idtr_read gdtr_read ldtr_read tr_read idtr_write gdtr_write "
        "ldtr_write tr_write rdtsc rdpmc pushf popf cpuid rsm iret swint invd pause hlt invlpg invlpga ioio msr "
        "task_switch ferr_freeze shutdown vmrun vmmcall vmload vmsave stgi clgi skinit rdtscp icebp wbinvd monitor "
        "mwait mwait_cond xsetbv rdpru efer_write_trap",
        0x60,
    ),
    **{0x90 + number: f"cr{number}_write_trap" for number in range(16)},
    0xA0: "invlpgb",
    0xA1: "invlpgb_illegal",
    0xA2: "invpcid",
    0xA3: "mcommit",
    0xA4: "tlbsync",
    0xA5: "buslock",
    0xA6: "idle_hlt",
    0x400: "npf",
    0x401: "avic_incomplete_ipi",
    0x402: "avic_unaccelerated_access",
    0x403: "vmgexit",
    0xFFFFFFFF: "err",  # VMEXIT_INVALID, -1: the processor rejected the guest's state
}

VMX = _numbered(
    "exception_nmi external_interrupt triple_fault init_signal sipi_signal io_smi other_smi interrupt_window "
    "nmi_window task_switch cpuid getsec hlt invd invlpg rdpmc rdtsc rsm vmcall vmclear vmlaunch vmptrld vmptrst "
    "vmread vmresume vmwrite vmoff vmon cr_access dr_access io_instruction msr_read msr_write invalid_state "
    "msr_load_fail - mwait_instruction monitor_trap_flag - monitor_instruction pause_instruction "
    "mce_during_vmentry - tpr_below_threshold apic_access eoi_induced gdtr_idtr ldtr_tr ept_violation "
    "ept_misconfig invept rdtscp preemption_timer invvpid wbinvd xsetbv apic_write rdrand invpcid vmfunc encls "
    "rdseed pml_full xsaves xrstors pconfig spp_induced umwait tpause loadiwkey enclv - enqcmd_pasid "
    "enqcmds_pasid bus_lock notify"
)

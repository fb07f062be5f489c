"""ACPI's fixed registers (ACPI 6.5, 4.8.3) as vmrun lays them out, one block behind the other."""

# Offsets
PM1_STATUS = 0  # PM1_EVT_BLK: two bytes, each bit cleared by writing 1 (4.8.3.1.1)
PM1_ENABLE = 2  # two bytes (4.8.3.1.2)
PM1_CONTROL = 4  # PM1_CNT_BLK: two bytes (4.8.3.2.1)
RESET = 6  # RESET_REG (4.8.3.6)

# PM1 status (table 4.11)
TMR_STS = 0x0001
BM_STS = 0x0010
GBL_STS = 0x0020
PWRBTN_STS = 0x0100
SLPBTN_STS = 0x0200
RTC_STS = 0x0400
PCIEXP_WAKE_STS = 0x4000
WAK_STS = 0x8000  # the machine has returned from sleep

# PM1 enable (table 4.12): all other bits read as 0
TMR_EN = TMR_STS
GBL_EN = GBL_STS
PWRBTN_EN = PWRBTN_STS
SLPBTN_EN = SLPBTN_STS
RTC_EN = RTC_STS
PCIEXP_WAKE_DIS = PCIEXP_WAKE_STS
PM1_ENABLES = TMR_EN | GBL_EN | PWRBTN_EN | SLPBTN_EN | RTC_EN | PCIEXP_WAKE_DIS

# PM1 control (table 4.13)
SCI_EN = 0x0001  # ACPI mode; always 1 without a legacy mode (4.8.2.5)
BM_RLD = 0x0002
GBL_RLS = 0x0004  # for firmware; only written
SLP_TYP = 0x1C00
SLP_EN = 0x2000  # go to sleep now; reads as 0
PM1_CONTROL_ZERO = 0xC000  # reserved; they read as 0

# What the guest writes, as the DSDT and the FADT say
S5 = 5  # to SLP_TYP: power off
S5_QEMU = 0  # the same on QEMU's PCs: OVMF writes it without looking (OvmfPkg/Library/ResetSystemLib)
RESET_VALUE = 1  # to RESET

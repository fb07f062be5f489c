"""ACPI's fixed registers (ACPI 6.5, 4.8.3) as vmrun lays them out, one block behind the other."""

# Offsets
PM1_STATUS = 0  # PM1_EVT_BLK: two bytes, each bit cleared by writing 1 (4.8.3.1.1)
PM1_ENABLE = 2  # two bytes (4.8.3.1.2)
PM1_CONTROL = 4  # PM1_CNT_BLK: two bytes (4.8.3.2.1)
RESET = 6  # RESET_REG (4.8.3.6)

# PM1 status; the enable register has the same bits, but for BM_STS and WAK_STS
TMR_STS = 0x0001
BM_STS = 0x0010
GBL_STS = 0x0020
PWRBTN_STS = 0x0100
SLPBTN_STS = 0x0200
RTC_STS = 0x0400
PCIEXP_WAKE_STS = 0x4000
WAK_STS = 0x8000  # the machine has returned from sleep

# PM1 control
SCI_EN = 0x0001  # ACPI mode
BM_RLD = 0x0002
GBL_RLS = 0x0004
SLP_TYP = 0x1C00
SLP_EN = 0x2000  # go to sleep now; reads as 0

# What the guest writes, as the DSDT and the FADT say
S5 = 5  # to SLP_TYP: power off
RESET_VALUE = 1  # to RESET

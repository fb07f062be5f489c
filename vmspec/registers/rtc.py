"""The PC's clock and its CMOS memory: the data sheet of Motorola's MC146818A; above 0x0d, what an IBM AT keeps."""

INDEX_PORT = 0x70
DATA_PORT = 0x71
IRQ = 8

# Offsets
INDEX = 0  # write-only
DATA = 1

ADDRESS = 0x7F  # of the index
NMI_OFF = 0x80  # of the index: the PC's NMI mask, no part of the address

# CMOS addresses
SECONDS = 0x00
SECONDS_ALARM = 0x01
MINUTES = 0x02
MINUTES_ALARM = 0x03
HOURS = 0x04
HOURS_ALARM = 0x05
WEEKDAY = 0x06  # Sunday is 1
DAY = 0x07
MONTH = 0x08
YEAR = 0x09  # of the century
A = 0x0A
B = 0x0B
C = 0x0C
D = 0x0D
CENTURY = 0x32  # its place, which ACPI's FADT tells

# Where PC firmware stores the sizes of memory, the least significant byte first (Ralf Brown's Interrupt List, CMOS.LST;
# the last two as QEMU and Bochs pass them to their firmware)
BASE_KIB = 0x15  # two bytes: below 640 KiB
EXTENDED_KIB = 0x17  # two bytes: above 1 MiB, as configured
EXTENDED_KIB_FOUND = 0x30  # two bytes: above 1 MiB, as found
ABOVE_16MIB = 0x34  # two bytes: above 16 MiB, in units of 64 KiB
ABOVE_4GIB = 0x5B  # three bytes: above 4 GiB, in units of 64 KiB
SUMMED = range(0x10, 0x2E)  # the bytes covered by the checksum
CHECKSUM = 0x2E  # two bytes, the most significant first

# Register A
UIP = 0x80  # an update is in progress or near
DIVIDER = 0x70
RATE = 0x0F  # of the periodic interrupt; 0 is none

# Register B
SET = 0x80  # the guest is setting the time: no updates
PIE = 0x40  # periodic interrupt
AIE = 0x20  # alarm interrupt
UIE = 0x10  # update-ended interrupt
SQWE = 0x08  # square wave
DM = 0x04  # binary, not BCD
HOUR_24 = 0x02  # else 12 hours, with PM in the hours
DSE = 0x01  # daylight saving

# Register C, cleared by reading
IRQF = 0x80  # a flag is up and its interrupt is enabled
PF = 0x40
AF = 0x20
UF = 0x10

# Register D
VRT = 0x80  # the battery is good

PM = 0x80  # of the hours
DONT_CARE = 0xC0  # an alarm byte with these bits matches everything

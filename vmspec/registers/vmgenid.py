"""The virtual machine generation ID (Microsoft, "Virtual Machine Generation ID", 2012): 128 bits that differ once a
guest goes on from a state that another one may have gone on from too."""

SIZE = 16  # bytes of the ID, which is all that the registers have

# The ids by which Linux's driver finds it (drivers/virt/vmgenid.c), and the object with the address, in two halves
HID = "VMGENCTR"
CID = "VM_Gen_Counter"
ADDRESS = "ADDR"
CHANGED = 0x80  # the notification that the ID is another one

# ACPI's generic event device, whose interrupt has the guest make a notification (ACPI 6.5, 5.6.9)
EVENT_HID = "ACPI0013"
EVENT_METHOD = "_EVT"

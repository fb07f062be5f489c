"""The 16550A UART: National Semiconductor's PC16550D data sheet, whose sections stand beside the names."""

# First port and interrupt of COM1 to COM4, as on every PC since the AT.
COMS = {1: (0x3F8, 4), 2: (0x2F8, 3), 3: (0x3E8, 4), 4: (0x2E8, 3)}
WIDTH = 8  # ports of one
CLOCK = 115_200  # baud with the divisor 1: a PC's crystal of 1.8432 MHz, divided by 16

# Offsets (table II). With LCR.DLAB on, 0 and 1 are the divisor latch.
RBR = THR = DLL = 0  # receiver buffer (read), transmitter holding (write)
IER = DLM = 1  # interrupt enable
IIR = FCR = 2  # interrupt identification (read), FIFO control (write)
LCR = 3  # line control
MCR = 4  # modem control
LSR = 5  # line status
MSR = 6  # modem status
SCR = 7  # scratch

# Line control register (8.1)
WLS = 0x03  # word length select: 5 to 8 bits
STB = 0x04  # two stop bits; one and a half with 5 data bits
PARITY = 0x38  # parity enable, even parity select, stick parity
BREAK = 0x40
DLAB = 0x80  # divisor latch access

# Line status register (8.4)
DR = 0x01  # data ready
OE = 0x02  # overrun: a byte was lost; cleared by reading LSR
PE = 0x04  # parity error
FE = 0x08  # framing error
BI = 0x10  # break
THRE = 0x20  # transmitter holding register empty
TEMT = 0x40  # transmitter empty
FIFO_ERROR = 0x80  # a byte in the FIFO has one of the errors

# FIFO control register (8.5)
FIFO_ENABLE = 0x01  # changing it empties the FIFOs; while it is 0, the other bits cannot be set
RCVR_FIFO_RESET = 0x02
XMIT_FIFO_RESET = 0x04
DMA_MODE = 0x08
TRIGGER_BITS = 0xC0
TRIGGER = (1, 4, 8, 14)  # receive trigger level in bytes, by these bits

# Interrupt identification register (8.6, table IV), in order of priority
INTERRUPT_ID = 0x0F
RECEIVER_LINE_STATUS = 0x06
RECEIVED_DATA = 0x04
CHARACTER_TIMEOUT = 0x0C
THR_EMPTY = 0x02
MODEM_STATUS = 0x00
NO_INTERRUPT = 0x01
FIFOS_ENABLED = 0xC0

# Interrupt enable register (8.7)
ERBFI = 0x01  # received data available and character timeout
ETBEI = 0x02  # transmitter holding register empty
ELSI = 0x04  # receiver line status
EDSSI = 0x08  # modem status

# Modem control register (8.8)
DTR = 0x01
RTS = 0x02
OUT1 = 0x04
OUT2 = 0x08  # on a PC it enables the interrupt
LOOP = 0x10  # transmitter connected to receiver, modem outputs to modem inputs; their pins inactive

# Modem status register (8.9): the low half says which inputs changed; reading clears it
DCTS = 0x01
DDSR = 0x02
TERI = 0x04  # the ring indicator went off
DDCD = 0x08
CTS = 0x10
DSR = 0x20
RI = 0x40
DCD = 0x80

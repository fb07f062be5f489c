"""One Intel 8259A (data sheet, "Interrupt Sequence" and "Programming the 8259A")."""

from runner.devices.state import State, bits, flag, number, one_of
from vmspec.registers import i8259 as R

NORMAL = 1  # what a write of MASK is, beside the number of the initialisation word that comes next


class ChipState(State):
    """Registers and modes."""

    lines: int = bits(0xFF)
    waiting: int = bits(0xFF)
    served: int = bits(0xFF)
    masked: int = bits(0xFF)
    levels: int = bits(0xFF)
    base: int = bits(R.ICW2_BASE)
    lowest: int = number(0, 7)
    next_word: int = one_of(NORMAL, 2, 3, 4)
    single: bool = flag()
    fourth: bool = flag()
    auto_eoi: bool = flag()
    rotates: bool = flag()
    nested: bool = flag()
    special: bool = flag()
    shows_served: bool = flag()
    polled: bool = flag()


class Chip:
    """A chip. Inputs are bits: ``lines`` their levels, ``waiting`` IRR, ``served`` ISR, ``masked`` IMR. ``edges`` are
    the inputs that are always edges."""

    def __init__(self, edges: int) -> None:
        self._edges = edges
        self.lines = self.waiting = self.served = 0
        self.masked = 0xFF  # as firmware leaves them
        self.levels = 0  # by input: 1 level, 0 edge
        self.base = 0
        self.lowest = 7  # the input with the lowest priority
        self.next_word = NORMAL
        self.single = self.fourth = False  # of ICW1, while the initialisation lasts
        self.auto_eoi = self.rotates = self.nested = self.special = False
        self.shows_served = self.polled = False

    def save(self) -> ChipState:
        """The state."""
        return ChipState(**{name: getattr(self, name) for name in ChipState.rules()})

    def load(self, state: ChipState) -> None:
        """Continue from a state."""
        for name in ChipState.rules():
            setattr(self, name, getattr(state, name))
        self.set_levels(state.levels)

    # Inputs and output

    def set_line(self, line: int, level: bool) -> None:
        """Drive an input."""
        bit = 1 << line
        if self.levels & bit:
            self.waiting = self.waiting & ~bit | (bit if level else 0)
        elif level and not self.lines & bit:
            self.waiting |= bit
        self.lines = self.lines & ~bit | (bit if level else 0)

    def set_cascade(self, level: bool) -> None:
        """The slave's output, to the master."""
        bit = 1 << R.CASCADE
        self.waiting = self.waiting & ~bit | (bit if level else 0)

    def set_levels(self, value: int) -> None:
        """The edge/level register."""
        self.levels = value & ~self._edges
        self.waiting = self.waiting & ~self.levels | self.lines & self.levels

    def request(self) -> int | None:
        """The input for which the output is high; None: it is low."""
        if self.next_word != NORMAL:
            return None
        served = self.served
        if self.special:
            served &= ~self.masked
        if self.nested:
            served &= ~(1 << R.CASCADE)
        line = self._first(self.waiting & ~self.masked)
        before = self._first(served)
        if line is None or (before is not None and self._rank(line) >= self._rank(before)):
            return None
        return line

    def acknowledge(self) -> int:
        """Begin to serve an interrupt, and return its input; 7 if none waits."""
        line = self.request()
        if line is None:
            return 7
        bit = 1 << line
        if not self.levels & bit:
            self.waiting &= ~bit
        if not self.auto_eoi:
            self.served |= bit
        elif self.rotates:
            self.lowest = line
        return line

    def poll(self) -> int:
        """A read after the poll command, which stands for an acknowledgement."""
        self.polled = False
        return 0 if self.request() is None else R.POLLED | self.acknowledge()

    def _rank(self, line: int) -> int:
        """0 is the highest priority."""
        return (line - self.lowest - 1) % 8

    def _first(self, mask: int) -> int | None:
        """The input with the highest priority among some."""
        return min((line for line in range(8) if mask >> line & 1), key=self._rank, default=None)

    # Commands

    def write_command(self, value: int) -> None:
        """ICW1, OCW3 or OCW2."""
        if value & R.ICW1:
            self._begin(value)
        elif value & R.OCW3:
            if value & R.OCW3_SPECIAL_SET:
                self.special = bool(value & R.OCW3_SPECIAL)
            if value & R.OCW3_POLL:
                self.polled = True
            elif value & R.OCW3_READ:
                self.shows_served = bool(value & R.OCW3_READ_ISR)
        else:
            self._end(value)

    def _begin(self, value: int) -> None:
        """ICW1: edges are forgotten, and all modes are off."""
        self.waiting = self.lines & self.levels
        self.served = self.masked = 0
        self.lowest = 7
        self.auto_eoi = self.rotates = self.nested = self.special = self.shows_served = self.polled = False
        self.single, self.fourth = bool(value & R.ICW1_SINGLE), bool(value & R.ICW1_ICW4)
        self.next_word = 2

    def _end(self, value: int) -> None:
        """OCW2: end of interrupt, and priorities."""
        line: int | None = value & R.LINE
        if not value & R.EOI:
            if value & R.SPECIFIC:
                if value & R.ROTATE:
                    self.lowest = value & R.LINE
            else:
                self.rotates = bool(value & R.ROTATE)
            return
        if not value & R.SPECIFIC:
            line = self._first(self.served & ~self.masked if self.special else self.served)
        if line is None:
            return
        self.served &= ~(1 << line)
        if value & R.ROTATE:
            self.lowest = line

    def write_mask(self, value: int) -> None:
        """The mask (OCW1), or a word of the initialisation."""
        match self.next_word:
            case 2:
                self.base = value & R.ICW2_BASE
                self.next_word = 3 if not self.single else 4 if self.fourth else NORMAL
            case 3:
                self.next_word = 4 if self.fourth else NORMAL
            case 4:
                self.nested, self.auto_eoi = bool(value & R.ICW4_NESTED), bool(value & R.ICW4_AUTO_EOI)
                self.next_word = NORMAL
            case _:
                self.masked = value

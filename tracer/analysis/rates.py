"""How often a machine exits, and how it spends its time: totals and rates over a growing trace."""

from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from tracer.analysis.account import SUMS, Rows, rows_of
from tracer.analysis.scan import grouped
from tracer.decode import name
from tracer.decode.regions import Regions
from vmspec.trace.record import NO_DEVICE

KEPT = 4096  # places that are counted separately; those beyond have no address
BEYOND = -1  # the address of all of them


@frozen
class Place:
    """Where exits come from: reason, device ("-" for none), address, direction and the device's region. The address is
    :data:`BEYOND` for exits from more places than are kept."""

    reason: str
    device: str
    addr: int
    direction: str
    region: int = 0


@define
class Counts:
    """The number of exits and their time from t_exit to t_entry, in ns: in total, and since :meth:`Rates.turn`."""

    exits: int = 0
    handling_ns: int = 0
    new_exits: int = 0
    new_handling_ns: int = 0

    def add(self, exits: int, handling_ns: int) -> None:
        """Count more exits."""
        self.exits += exits
        self.handling_ns += handling_ns
        self.new_exits += exits
        self.new_handling_ns += handling_ns

    def merge(self, other: "Counts") -> None:
        """Add another's counts."""
        self.exits += other.exits
        self.handling_ns += other.handling_ns
        self.new_exits += other.new_exits
        self.new_handling_ns += other.new_handling_ns


@define
class Rates:
    """Counts of the batches given to :meth:`add`. ``last_ns`` is the time until which exits are known; ``span_ns`` is
    the time that the ``new_`` counts cover.

    ``halts`` are each vCPU's hlt exits, whose handling is idle time; they count in ``vcpus`` too. ``rows`` are each
    vCPU's, for the account of time.
    """

    vcpus: dict[int, Counts] = field(factory=dict)
    halts: dict[int, Counts] = field(factory=dict)
    places: dict[Place, Counts] = field(factory=dict)
    rows: dict[int, Rows] = field(factory=dict)
    last_ns: int = 0
    turned_ns: int = 0

    @property
    def span_ns(self) -> int:
        """The time since the last turn, in ns."""
        return max(self.last_ns - self.turned_ns, 0)

    def add(self, batch: Any) -> None:
        """Count a ``pyarrow.RecordBatch`` of a trace."""
        import pyarrow as pa
        import pyarrow.compute as pc

        keys = ["vcpu", "reason", "device", "addr", "direction", "region"]
        columns = {key: batch[key] for key in keys}
        for key in ("reason", "device", "direction"):
            columns[key] = columns[key].cast(pa.utf8())
        columns["handling"] = pc.subtract(batch["t_entry"], batch["t_exit"])
        groups = pa.table(columns).group_by(keys).aggregate([("handling", "count"), ("handling", "sum")])
        for row in groups.to_pylist():
            exits, handling = row["handling_count"], row["handling_sum"]
            place = Place(row["reason"], row["device"], row["addr"], row["direction"], row["region"])
            if place not in self.places and len(self.places) >= KEPT:
                place = Place(place.reason, place.device, BEYOND, place.direction)
            self.places.setdefault(place, Counts()).add(exits, handling)
            self.vcpus.setdefault(row["vcpu"], Counts()).add(exits, handling)
            if row["reason"] == "hlt":
                self.halts.setdefault(row["vcpu"], Counts()).add(exits, handling)
        for vcpu, rows in rows_of(grouped(SUMS.prepared(pa.Table.from_batches([batch])), SUMS)).items():
            self.rows[vcpu] = self.rows[vcpu].joined(rows) if vcpu in self.rows else rows
        self.until(pc.max(batch["t_entry"]).as_py() or 0)

    def until(self, ns: int) -> None:
        """All exits until that time are counted."""
        self.last_ns = max(self.last_ns, ns)

    def turn(self) -> None:
        """Begin a new interval for the rates."""
        for counts in (self.vcpus, self.halts, self.places):
            for one in counts.values():
                one.new_exits = one.new_handling_ns = 0
        self.turned_ns = self.last_ns

    def by(self, key: str) -> Mapping[str, Counts]:
        """Counts by "reason" or "device"."""
        found: dict[str, Counts] = {}
        for place, counts in self.places.items():
            found.setdefault(getattr(place, key), Counts()).merge(counts)
        return found


def place_name(place: Place, regions: Regions = Regions({})) -> str:  # noqa: B008 (it never changes)
    """What is accessed, and the device: by the name of its register, else by its place in a region of the device, else
    by its address. A port shows its address too."""
    beyond = f"(places beyond {KEPT:,})" if place.addr == BEYOND else ""
    known = beyond or name(place.reason, place.addr, 1, place.direction, place.device)
    if not known and (within := regions.place(place.device, place.region, place.addr)):
        return within
    match place.reason:
        case _ if beyond:
            pass
        case "io":
            known = f"{known} {place.addr:#x}" if known else f"port {place.addr:#x}"
        case "mmio":
            known = known or f"{place.addr:#x}"
        case "unknown":
            known = f"KVM exit {place.addr}"
    return known if place.device == NO_DEVICE else f"{known}  {place.device}"

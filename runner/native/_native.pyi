"""The C extension's types. ``make stub`` writes them; do not edit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar, overload

T = TypeVar("T")

class CType:
    kind: str
    cname: str
    fields: list[tuple[str, CField]]
    item: CType

class CField:
    type: CType
    offset: int

class CData: ...

class Number(CData):
    def __int__(self) -> int: ...

class Pointer(CData, Generic[T]):
    @overload
    def __getitem__(self, index: int, /) -> T: ...
    @overload
    def __getitem__(self, index: slice, /) -> Array[T]: ...
    def __setitem__(self, index: int, value: T, /) -> None: ...
    def __add__(self, items: int, /) -> Pointer[T]: ...

class Array(Pointer[T]):
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T]: ...

class Buffer:
    def __len__(self) -> int: ...
    def __getitem__(self, index: int | slice, /) -> bytes: ...
    def __setitem__(self, index: int | slice, value: bytes, /) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Char(bytes): ...
class MemoryBehind(int): ...
class SignalsUse(int): ...
class VcpuOutcome(int): ...
class VirtqueueFault(int): ...
class Int(int): ...
class Int16(int): ...
class Int32(int): ...
class Int64(int): ...
class Int8(int): ...

class BlkFields:
    disk: Disk
    id: Array[Uint8]

class Blk(BlkFields, CData): ...
class BlkPointer(BlkFields, Pointer[Blk]): ...

class BusFields:
    hurry: int
    replaced: BusMapPointer
    regions: BusRegionPointer
    devices: BusDevicePointer
    flushed: int

class Bus(BusFields, CData): ...
class BusPointer(BusFields, Pointer[Bus]): ...

class BusBellFields:
    rung: int
    event: int
    doors: Pointer[Int]
    n_doors: int

class BusBell(BusBellFields, CData): ...
class BusBellPointer(BusBellFields, Pointer[BusBell]): ...

class BusDeviceFields:
    flush_at_once: int
    exits: int

class BusDevice(BusDeviceFields, CData): ...
class BusDevicePointer(BusDeviceFields, Pointer[BusDevice]): ...

class BusMapFields:
    next: BusMapPointer

class BusMap(BusMapFields, CData): ...
class BusMapPointer(BusMapFields, Pointer[BusMap]): ...

class BusPieceFields:
    number: int
    offset: int
    size: int
    length: int
    region: int

class BusPiece(BusPieceFields, CData): ...
class BusPiecePointer(BusPieceFields, Pointer[BusPiece]): ...

class BusRangeFields:
    start: int
    end: int
    region: int

class BusRange(BusRangeFields, CData): ...
class BusRangePointer(BusRangeFields, Pointer[BusRange]): ...

class BusRegionFields:
    device: int
    number: int

class BusRegion(BusRegionFields, CData): ...
class BusRegionPointer(BusRegionFields, Pointer[BusRegion]): ...

class CaptureFields:
    fd: int
    error: int
    epoch: int
    tsc_start: int
    tsc_khz: int
    frames: int
    dropped: int
    size: int

class Capture(CaptureFields, CData): ...
class CapturePointer(CaptureFields, Pointer[Capture]): ...

class DiskFields:
    fd: int
    overlay: int
    changed: Pointer[Uint64]
    sectors: int
    alignment: int
    writable: bool
    stable: int

class Disk(DiskFields, CData): ...
class DiskPointer(DiskFields, Pointer[Disk]): ...

class DmaFields:
    memory: MemoryPointer
    exits: RingPointer
    ring: RingPointer
    full: Any
    handle: Pointer[Any]

class Dma(DmaFields, CData): ...
class DmaPointer(DmaFields, Pointer[Dma]): ...

class DmaColumnsFields:
    t: Pointer[Int64]
    vcpu: Pointer[Uint16]
    seq: Pointer[Uint64]
    device: Pointer[Int16]
    direction: Pointer[Int8]
    addr: Pointer[Uint64]
    data: Pointer[Int32]
    bytes: Pointer[Uint8]
    bytes_capacity: int
    rows: int

class DmaColumns(DmaColumnsFields, CData): ...
class DmaColumnsPointer(DmaColumnsFields, Pointer[DmaColumns]): ...

class DmaTransferFields:
    tsc: int
    seq: int
    address: int
    payload: int
    length: int
    device: int
    read: int

class DmaTransfer(DmaTransferFields, CData): ...
class DmaTransferPointer(DmaTransferFields, Pointer[DmaTransfer]): ...

class ExitsColumnsFields:
    seq: Pointer[Uint64]
    vcpu: Pointer[Uint16]
    t_exit: Pointer[Int64]
    t_entry: Pointer[Int64]
    reason: Pointer[Int8]
    rip: Pointer[Uint64]
    addr: Pointer[Uint64]
    size: Pointer[Uint8]
    count: Pointer[Uint32]
    direction: Pointer[Int8]
    data: Pointer[Uint64]
    payload: Pointer[Int32]
    device: Pointer[Int16]
    region: Pointer[Uint8]
    flags: Pointer[Uint16]
    vector: Pointer[Uint8]
    bytes: Pointer[Uint8]
    bytes_capacity: int
    rows: int

class ExitsColumns(ExitsColumnsFields, CData): ...
class ExitsColumnsPointer(ExitsColumnsFields, Pointer[ExitsColumns]): ...

class GateFields:
    turn: int

class Gate(GateFields, CData): ...
class GatePointer(GateFields, Pointer[Gate]): ...

class GuestDebugFields:
    asked: int
    after_sti: int
    registers: Array[Uint64]
    held: int
    completes: int
    exception: int
    asks: int
    pc: int
    dr6: int
    event: int

class GuestDebug(GuestDebugFields, CData): ...
class GuestDebugPointer(GuestDebugFields, Pointer[GuestDebug]): ...

class IovecFields:
    iov_base: Pointer[Any]
    iov_len: int

class Iovec(IovecFields, CData): ...
class IovecPointer(IovecFields, Pointer[Iovec]): ...

class KvmCpuid2Fields:
    nent: int
    padding: int
    entries: Array[KvmCpuidEntry2]

class KvmCpuid2(KvmCpuid2Fields, CData): ...
class KvmCpuid2Pointer(KvmCpuid2Fields, Pointer[KvmCpuid2]): ...

class KvmCpuidEntry2Fields:
    function: int
    index: int
    flags: int
    eax: int
    ebx: int
    ecx: int
    edx: int

class KvmCpuidEntry2(KvmCpuidEntry2Fields, CData): ...
class KvmCpuidEntry2Pointer(KvmCpuidEntry2Fields, Pointer[KvmCpuidEntry2]): ...

class KvmDtableFields:
    base: int
    limit: int

class KvmDtable(KvmDtableFields, CData): ...
class KvmDtablePointer(KvmDtableFields, Pointer[KvmDtable]): ...

class KvmIrqLevelFields:
    irq: int
    level: int

class KvmIrqLevel(KvmIrqLevelFields, CData): ...
class KvmIrqLevelPointer(KvmIrqLevelFields, Pointer[KvmIrqLevel]): ...

class KvmLapicStateFields:
    regs: Array[Char]

class KvmLapicState(KvmLapicStateFields, CData): ...
class KvmLapicStatePointer(KvmLapicStateFields, Pointer[KvmLapicState]): ...

class KvmMpStateFields:
    mp_state: int

class KvmMpState(KvmMpStateFields, CData): ...
class KvmMpStatePointer(KvmMpStateFields, Pointer[KvmMpState]): ...

class KvmPitConfigFields:
    flags: int

class KvmPitConfig(KvmPitConfigFields, CData): ...
class KvmPitConfigPointer(KvmPitConfigFields, Pointer[KvmPitConfig]): ...

class KvmRegsFields:
    rax: int
    rbx: int
    rcx: int
    rdx: int
    rsi: int
    rdi: int
    rsp: int
    rbp: int
    r8: int
    r9: int
    r10: int
    r11: int
    r12: int
    r13: int
    r14: int
    r15: int
    rip: int
    rflags: int

class KvmRegs(KvmRegsFields, CData): ...
class KvmRegsPointer(KvmRegsFields, Pointer[KvmRegs]): ...

class KvmRunFields:
    cr8: int
    request_interrupt_window: int
    immediate_exit: int
    exit_reason: int
    ready_for_interrupt_injection: int
    if_flag: int
    kvm_valid_regs: int

class KvmRun(KvmRunFields, CData): ...
class KvmRunPointer(KvmRunFields, Pointer[KvmRun]): ...

class KvmSegmentFields:
    base: int
    limit: int
    selector: int
    type: int
    present: int
    dpl: int
    db: int
    s: int
    l: int
    g: int
    avl: int
    unusable: int

class KvmSegment(KvmSegmentFields, CData): ...
class KvmSegmentPointer(KvmSegmentFields, Pointer[KvmSegment]): ...

class KvmSregsFields:
    cs: KvmSegment
    ds: KvmSegment
    es: KvmSegment
    fs: KvmSegment
    gs: KvmSegment
    ss: KvmSegment
    tr: KvmSegment
    ldt: KvmSegment
    gdt: KvmDtable
    idt: KvmDtable
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    cr8: int
    efer: int
    apic_base: int

class KvmSregs(KvmSregsFields, CData): ...
class KvmSregsPointer(KvmSregsFields, Pointer[KvmSregs]): ...

class KvmTranslationFields:
    linear_address: int
    physical_address: int
    valid: int

class KvmTranslation(KvmTranslationFields, CData): ...
class KvmTranslationPointer(KvmTranslationFields, Pointer[KvmTranslation]): ...

class KvmUserspaceMemoryRegionFields:
    slot: int
    flags: int
    guest_phys_addr: int
    memory_size: int
    userspace_addr: int

class KvmUserspaceMemoryRegion(KvmUserspaceMemoryRegionFields, CData): ...
class KvmUserspaceMemoryRegionPointer(KvmUserspaceMemoryRegionFields, Pointer[KvmUserspaceMemoryRegion]): ...

class MemoryFields:
    n: int
    regions: Array[MemoryRegion]

class Memory(MemoryFields, CData): ...
class MemoryPointer(MemoryFields, Pointer[Memory]): ...

class MemoryRegionFields:
    start: int
    size: int
    host: Pointer[Uint8]
    read_only: bool

class MemoryRegion(MemoryRegionFields, CData): ...
class MemoryRegionPointer(MemoryRegionFields, Pointer[MemoryRegion]): ...

class NetFields:
    n_pairs: int
    pairs: int
    features: int
    up: bool
    capture: CapturePointer
    counts: NetCounts
    pair: Array[NetPair]

class Net(NetFields, CData): ...
class NetPointer(NetFields, Pointer[Net]): ...
class NetBackendFields: ...
class NetBackend(NetBackendFields, CData): ...
class NetBackendPointer(NetBackendFields, Pointer[NetBackend]): ...

class NetCountsFields:
    received: int
    sent: int
    malformed: int
    refused: int
    overlong: int
    unfit: int
    crowded: int
    forgotten: int

class NetCounts(NetCountsFields, CData): ...
class NetCountsPointer(NetCountsFields, Pointer[NetCounts]): ...

class NetPairFields:
    fd: int
    size: int
    full: bool

class NetPair(NetPairFields, CData): ...
class NetPairPointer(NetPairFields, Pointer[NetPair]): ...

class PerfClockFields:
    raw: Array[Int64]
    t: Array[Int64]

class PerfClock(PerfClockFields, CData): ...
class PerfClockPointer(PerfClockFields, Pointer[PerfClock]): ...

class PerfFieldFields:
    offset: int
    size: int
    is_signed: int
    slot: int
    shift: int
    negate: int

class PerfField(PerfFieldFields, CData): ...
class PerfFieldPointer(PerfFieldFields, Pointer[PerfField]): ...

class PerfFormatFields:
    id: int
    code: int
    names: int
    n_fields: int
    fields: Array[PerfField]

class PerfFormat(PerfFormatFields, CData): ...
class PerfFormatPointer(PerfFormatFields, Pointer[PerfFormat]): ...

class PerfNamesFields:
    vmx: Pointer[Int16]
    svm: Pointer[Int16]
    user: Pointer[Int16]
    n_vmx: int
    n_svm: int
    n_user: int
    svm_err: int
    unknown: int
    isa: int

class PerfNames(PerfNamesFields, CData): ...
class PerfNamesPointer(PerfNamesFields, Pointer[PerfNames]): ...

class PerfRingFields:
    samples: int
    unknown: int
    vcpu: int

class PerfRing(PerfRingFields, CData): ...
class PerfRingPointer(PerfRingFields, Pointer[PerfRing]): ...

class PopulatingFields:
    over: int

class Populating(PopulatingFields, CData): ...
class PopulatingPointer(PopulatingFields, Pointer[Populating]): ...

class RecordFields:
    tsc_exit: int
    tsc_entry: int
    rip: int
    addr: int
    data: int
    payload: int
    count: int
    length: int
    vector: int
    device: int
    flags: int
    reason: int
    size: int
    direction: int
    region: int

class Record(RecordFields, CData): ...
class RecordPointer(RecordFields, Pointer[Record]): ...

class RequestFields:
    tsc_available: int
    tsc_taken: int
    tsc_done: int
    position: int
    length: int
    bytes_out: int
    bytes_in: int
    room: int
    buffers: int
    device: int
    queue: int
    head: int
    kind: int
    status: int

class Request(RequestFields, CData): ...
class RequestPointer(RequestFields, Pointer[Request]): ...

class RequestsFields:
    ring: Ring

class Requests(RequestsFields, CData): ...
class RequestsPointer(RequestsFields, Pointer[Requests]): ...

class RequestsColumnsFields:
    seq: Pointer[Uint64]
    device: Pointer[Int16]
    queue: Pointer[Uint16]
    head: Pointer[Uint16]
    kind: Pointer[Int8]
    position: Pointer[Uint64]
    length: Pointer[Uint64]
    bytes_out: Pointer[Uint32]
    bytes_in: Pointer[Uint32]
    room: Pointer[Uint32]
    buffers: Pointer[Uint32]
    status: Pointer[Int8]
    t_available: Pointer[Int64]
    t_taken: Pointer[Int64]
    t_done: Pointer[Int64]
    rows: int

class RequestsColumns(RequestsColumnsFields, CData): ...
class RequestsColumnsPointer(RequestsColumnsFields, Pointer[RequestsColumns]): ...

class RingFields:
    control: RingControlPointer
    pauses: RingPausePointer
    slots: RecordPointer
    mask: int
    cursor: int
    policy: int
    closed: int

class Ring(RingFields, CData): ...
class RingPointer(RingFields, Pointer[Ring]): ...

class RingControlFields:
    head: int
    payload_head: int
    open: int
    dropped: int
    interrupted: int
    waits: int
    start: int
    stop: int
    tail: int
    payload_tail: int
    thread: int
    waiting: int
    paused: int
    pauses: int

class RingControl(RingControlFields, CData): ...
class RingControlPointer(RingControlFields, Pointer[RingControl]): ...

class RingPauseFields:
    begin: int
    end: int

class RingPause(RingPauseFields, CData): ...
class RingPausePointer(RingPauseFields, Pointer[RingPause]): ...

class SignalsFields:
    asked: int
    insisted: int
    impatient: int
    event: int

class Signals(SignalsFields, CData): ...
class SignalsPointer(SignalsFields, Pointer[Signals]): ...

class TracepointsColumnsFields:
    vcpu: Pointer[Uint16]
    t: Pointer[Int64]
    event: Pointer[Int8]
    host_cpu: Pointer[Uint16]
    reason: Pointer[Uint64]
    exit: Pointer[Int16]
    rip: Pointer[Uint64]
    info1: Pointer[Uint64]
    info2: Pointer[Uint64]
    a: Pointer[Uint64]
    b: Pointer[Uint64]
    rows: int

class TracepointsColumns(TracepointsColumnsFields, CData): ...
class TracepointsColumnsPointer(TracepointsColumnsFields, Pointer[TracepointsColumns]): ...

class VcpuFields:
    fd: int
    run: KvmRunPointer
    bus: BusPointer
    reader: int
    gate: GatePointer
    time: VirtualTimePointer
    ring: RingPointer
    record: RecordPointer
    transfer: VcpuTransfer
    access: VcpuAccess
    standing: int
    stopping: int
    sync_regs: int
    debug: GuestDebug
    error: int
    counts: Array[Uint64]
    kept: VcpuKept

class Vcpu(VcpuFields, CData): ...
class VcpuPointer(VcpuFields, Pointer[Vcpu]): ...

class VcpuAccessFields:
    data: Pointer[Uint8]
    offset: int
    count: int
    region: int
    size: int
    write: int

class VcpuAccess(VcpuAccessFields, CData): ...
class VcpuAccessPointer(VcpuAccessFields, Pointer[VcpuAccess]): ...

class VcpuKeptFields:
    regs: KvmRegs
    sregs: KvmSregs
    tsc_regs: int
    tsc_sregs: int

class VcpuKept(VcpuKeptFields, CData): ...
class VcpuKeptPointer(VcpuKeptFields, Pointer[VcpuKept]): ...

class VcpuTransferFields:
    address: int
    data: Pointer[Uint8]
    size: int
    length: int
    done: int
    mmio: bool
    write: bool

class VcpuTransfer(VcpuTransferFields, CData): ...
class VcpuTransferPointer(VcpuTransferFields, Pointer[VcpuTransfer]): ...

class VhostFields:
    kicks: Array[Int]
    calls: Array[Int]
    events: int

class Vhost(VhostFields, CData): ...
class VhostPointer(VhostFields, Pointer[Vhost]): ...

class VirtqueueFields:
    size: int
    taken: int
    put: int
    signalled: int
    fault: VirtqueueFault
    done: int

class Virtqueue(VirtqueueFields, CData): ...
class VirtqueuePointer(VirtqueueFields, Pointer[Virtqueue]): ...

class VirtqueueChainFields:
    t_available: int
    t_taken: int
    position: int
    length: int
    head: int
    n_readable: int
    n_writable: int
    kind: int
    status: int
    readable: int
    writable: int
    ranges: Array[Iovec]

class VirtqueueChain(VirtqueueChainFields, CData): ...
class VirtqueueChainPointer(VirtqueueChainFields, Pointer[VirtqueueChain]): ...

class VirtualTimeFields:
    now: int
    step: int
    deadline: int
    pending: int
    vector: int
    open: int
    halted: int
    ticked: int
    taken: int
    asked: int
    looked: int
    listens: int
    waited: int
    fruitless: int
    replayed: int
    patience: int
    memory: MemoryPointer
    tsc_port: int
    tsc_step: int
    tsc_state: int
    exits: int
    examine: int

class VirtualTime(VirtualTimeFields, CData): ...
class VirtualTimePointer(VirtualTimeFields, Pointer[VirtualTime]): ...

class VsockFields:
    cid: int
    listener: int
    events: int
    path: Array[Char]
    announce: int

class Vsock(VsockFields, CData): ...
class VsockPointer(VsockFields, Pointer[Vsock]): ...

class WorkerFields:
    bell: BusBell
    device: WorkerDevicePointer
    state: Pointer[Any]
    n_queues: int
    queues: Array[VirtqueuePointer]
    interrupts: Array[WorkerInterrupt]
    requests: RequestsPointer
    index: int
    kinds: Array[Uint8]
    timeout: int
    again: int
    trouble: int
    started: bool
    unnamed: bool
    alone: bool
    moved: int

class Worker(WorkerFields, CData): ...
class WorkerPointer(WorkerFields, Pointer[Worker]): ...
class WorkerDeviceFields: ...
class WorkerDevice(WorkerDeviceFields, CData): ...
class WorkerDevicePointer(WorkerDeviceFields, Pointer[WorkerDevice]): ...

class WorkerInterruptFields:
    status: Pointer[Uint64]
    cause: int
    event: int
    masked: int
    pending: int

class WorkerInterrupt(WorkerInterruptFields, CData): ...
class WorkerInterruptPointer(WorkerInterruptFields, Pointer[WorkerInterrupt]): ...
class Uint16(int): ...
class Uint32(int): ...
class Uint64(int): ...
class Uint8(int): ...

class FFI:
    errno: int
    NULL: Any  # a pointer of every type
    def typeof(self, cdecl: str | CData, /) -> CType: ...
    def sizeof(self, cdecl: str | CData | CType, /) -> int: ...
    def buffer(self, cdata: CData, size: int = -1, /) -> Buffer: ...
    def from_buffer(self, buffer: Any, /) -> Array[Char]: ...
    def release(self, cdata: CData, /) -> None: ...
    def string(self, cdata: Any, /) -> bytes: ...
    def gc(self, cdata: Any, destructor: Any, /) -> Any: ...
    def new_handle(self, value: Any, /) -> Any: ...
    def from_handle(self, handle: Any, /) -> Any: ...
    def def_extern(self) -> Callable[[T], T]: ...
    @overload
    def cast(self, cdecl: CType, value: CData | int, /) -> Pointer[Any]: ...
    @overload
    def cast(self, cdecl: Literal["uintptr_t"], value: CData, /) -> Number: ...
    @overload
    def cast(self, cdecl: Literal["char *"], value: CData | int, /) -> Pointer[Char]: ...
    @overload
    def cast(self, cdecl: Literal["struct kvm_run *"], value: CData | int, /) -> KvmRunPointer: ...
    @overload
    def cast(self, cdecl: Literal["uint64_t *"], value: CData | int, /) -> Pointer[Uint64]: ...
    @overload
    def cast(self, cdecl: Literal["uint8_t *"], value: CData | int, /) -> Pointer[Uint8]: ...
    @overload
    def new(
        self, cdecl: Literal["char *[]"], value: int | Sequence[Pointer[Char] | bytes], /
    ) -> Array[Pointer[Char]]: ...
    @overload
    def new(self, cdecl: Literal["char[]"], value: int | bytes, /) -> Array[Char]: ...
    @overload
    def new(self, cdecl: Literal["int16_t[]"], value: int | Sequence[int], /) -> Array[Int16]: ...
    @overload
    def new(self, cdecl: Literal["int[]"], value: int | Sequence[int], /) -> Array[Int]: ...
    @overload
    def new(
        self, cdecl: Literal["struct blk *"], value: Mapping[Literal["disk", "id"], Any] = ..., /
    ) -> BlkPointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct bus_piece[]"], value: int | Sequence[tuple[int, ...]], /
    ) -> Array[BusPiece]: ...
    @overload
    def new(
        self, cdecl: Literal["struct bus_range[]"], value: int | Sequence[tuple[int, ...]], /
    ) -> Array[BusRange]: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct capture *"],
        value: Mapping[Literal["fd", "error", "epoch", "tsc_start", "tsc_khz", "frames", "dropped", "size"], Any] = ...,
        /,
    ) -> CapturePointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct dma *"],
        value: Mapping[Literal["memory", "exits", "ring", "full", "handle"], Any] = ...,
        /,
    ) -> DmaPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct dma_columns *"],
        value: Mapping[
            Literal["t", "vcpu", "seq", "device", "direction", "addr", "data", "bytes", "bytes_capacity", "rows"], Any
        ] = ...,
        /,
    ) -> DmaColumnsPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct dma_transfer *"],
        value: Mapping[Literal["tsc", "seq", "address", "payload", "length", "device", "read"], Any] = ...,
        /,
    ) -> DmaTransferPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct exits_columns *"],
        value: Mapping[
            Literal[
                "seq",
                "vcpu",
                "t_exit",
                "t_entry",
                "reason",
                "rip",
                "addr",
                "size",
                "count",
                "direction",
                "data",
                "payload",
                "device",
                "region",
                "flags",
                "vector",
                "bytes",
                "bytes_capacity",
                "rows",
            ],
            Any,
        ] = ...,
        /,
    ) -> ExitsColumnsPointer: ...
    @overload
    def new(self, cdecl: Literal["struct gate *"], value: Mapping[Literal["turn"], Any] = ..., /) -> GatePointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct kvm_cpuid2 *"], value: Mapping[Literal["nent", "padding", "entries"], Any] = ..., /
    ) -> KvmCpuid2Pointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct kvm_irq_level *"], value: Mapping[Literal["irq", "level"], Any] = ..., /
    ) -> KvmIrqLevelPointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct kvm_lapic_state *"], value: Mapping[Literal["regs"], Any] = ..., /
    ) -> KvmLapicStatePointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct kvm_mp_state *"], value: Mapping[Literal["mp_state"], Any] = ..., /
    ) -> KvmMpStatePointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct kvm_pit_config *"], value: Mapping[Literal["flags"], Any] = ..., /
    ) -> KvmPitConfigPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct kvm_regs *"],
        value: Mapping[
            Literal[
                "rax",
                "rbx",
                "rcx",
                "rdx",
                "rsi",
                "rdi",
                "rsp",
                "rbp",
                "r8",
                "r9",
                "r10",
                "r11",
                "r12",
                "r13",
                "r14",
                "r15",
                "rip",
                "rflags",
            ],
            Any,
        ] = ...,
        /,
    ) -> KvmRegsPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct kvm_sregs *"],
        value: Mapping[
            Literal[
                "cs",
                "ds",
                "es",
                "fs",
                "gs",
                "ss",
                "tr",
                "ldt",
                "gdt",
                "idt",
                "cr0",
                "cr2",
                "cr3",
                "cr4",
                "cr8",
                "efer",
                "apic_base",
            ],
            Any,
        ] = ...,
        /,
    ) -> KvmSregsPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct kvm_translation *"],
        value: Mapping[Literal["linear_address", "physical_address", "valid"], Any] = ...,
        /,
    ) -> KvmTranslationPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct kvm_userspace_memory_region *"],
        value: Mapping[Literal["slot", "flags", "guest_phys_addr", "memory_size", "userspace_addr"], Any] = ...,
        /,
    ) -> KvmUserspaceMemoryRegionPointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct memory *"], value: Mapping[Literal["n", "regions"], Any] = ..., /
    ) -> MemoryPointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct perf_clock *"], value: Mapping[Literal["raw", "t"], Any] = ..., /
    ) -> PerfClockPointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct perf_format[]"], value: int | Sequence[tuple[int, ...]], /
    ) -> Array[PerfFormat]: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct perf_names *"],
        value: Mapping[
            Literal["vmx", "svm", "user", "n_vmx", "n_svm", "n_user", "svm_err", "unknown", "isa"], Any
        ] = ...,
        /,
    ) -> PerfNamesPointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct perf_ring[]"], value: int | Sequence[tuple[int, ...]], /
    ) -> Array[PerfRing]: ...
    @overload
    def new(
        self, cdecl: Literal["struct populating *"], value: Mapping[Literal["over"], Any] = ..., /
    ) -> PopulatingPointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct requests *"], value: Mapping[Literal["ring"], Any] = ..., /
    ) -> RequestsPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct requests_columns *"],
        value: Mapping[
            Literal[
                "seq",
                "device",
                "queue",
                "head",
                "kind",
                "position",
                "length",
                "bytes_out",
                "bytes_in",
                "room",
                "buffers",
                "status",
                "t_available",
                "t_taken",
                "t_done",
                "rows",
            ],
            Any,
        ] = ...,
        /,
    ) -> RequestsColumnsPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct ring *"],
        value: Mapping[Literal["control", "pauses", "slots", "mask", "cursor", "policy", "closed"], Any] = ...,
        /,
    ) -> RingPointer: ...
    @overload
    def new(self, cdecl: Literal["struct ring[]"], value: int | Sequence[tuple[int, ...]], /) -> Array[Ring]: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct tracepoints_columns *"],
        value: Mapping[
            Literal["vcpu", "t", "event", "host_cpu", "reason", "exit", "rip", "info1", "info2", "a", "b", "rows"], Any
        ] = ...,
        /,
    ) -> TracepointsColumnsPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct vcpu *"],
        value: Mapping[
            Literal[
                "fd",
                "run",
                "bus",
                "reader",
                "gate",
                "time",
                "ring",
                "record",
                "transfer",
                "access",
                "standing",
                "stopping",
                "sync_regs",
                "debug",
                "error",
                "counts",
                "kept",
            ],
            Any,
        ] = ...,
        /,
    ) -> VcpuPointer: ...
    @overload
    def new(
        self, cdecl: Literal["struct vhost *"], value: Mapping[Literal["kicks", "calls", "events"], Any] = ..., /
    ) -> VhostPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct virtqueue *"],
        value: Mapping[Literal["size", "taken", "put", "signalled", "fault", "done"], Any] = ...,
        /,
    ) -> VirtqueuePointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct virtqueue_chain *"],
        value: Mapping[
            Literal[
                "t_available",
                "t_taken",
                "position",
                "length",
                "head",
                "n_readable",
                "n_writable",
                "kind",
                "status",
                "readable",
                "writable",
                "ranges",
            ],
            Any,
        ] = ...,
        /,
    ) -> VirtqueueChainPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct virtual_time *"],
        value: Mapping[
            Literal[
                "now",
                "step",
                "deadline",
                "pending",
                "vector",
                "open",
                "halted",
                "ticked",
                "taken",
                "asked",
                "looked",
                "listens",
                "waited",
                "fruitless",
                "replayed",
                "patience",
                "memory",
                "tsc_port",
                "tsc_step",
                "tsc_state",
                "exits",
                "examine",
            ],
            Any,
        ] = ...,
        /,
    ) -> VirtualTimePointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct vsock *"],
        value: Mapping[Literal["cid", "listener", "events", "path", "announce"], Any] = ...,
        /,
    ) -> VsockPointer: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct worker *"],
        value: Mapping[
            Literal[
                "bell",
                "device",
                "state",
                "n_queues",
                "queues",
                "interrupts",
                "requests",
                "index",
                "kinds",
                "timeout",
                "again",
                "trouble",
                "started",
                "unnamed",
                "alone",
                "moved",
            ],
            Any,
        ] = ...,
        /,
    ) -> WorkerPointer: ...
    @overload
    def new(self, cdecl: Literal["uint32_t *"], value: int = ..., /) -> Pointer[Uint32]: ...
    @overload
    def new(self, cdecl: Literal["uint32_t[]"], value: int | Sequence[int], /) -> Array[Uint32]: ...
    @overload
    def new(self, cdecl: Literal["uint64_t *"], value: int = ..., /) -> Pointer[Uint64]: ...
    @overload
    def new(self, cdecl: Literal["uint64_t[]"], value: int | Sequence[int], /) -> Array[Uint64]: ...
    @overload
    def new(self, cdecl: Literal["uint8_t[]"], value: int | bytes, /) -> Array[Uint8]: ...
    @overload
    def addressof(self, items: Array[BusPiece], index: int, /) -> BusPiecePointer: ...
    @overload
    def addressof(self, items: Array[BusRange], index: int, /) -> BusRangePointer: ...
    @overload
    def addressof(self, items: Array[PerfFormat], index: int, /) -> PerfFormatPointer: ...
    @overload
    def addressof(self, items: Array[PerfRing], index: int, /) -> PerfRingPointer: ...
    @overload
    def addressof(self, items: Array[Ring], index: int, /) -> RingPointer: ...
    @overload
    def addressof(self, structure: CData | Lib, field: str, /) -> Any: ...

class Lib:
    BLK_DISCARD_RANGES: int
    BLK_DISCARD_SECTORS: int
    BLK_ZERO_RANGES: int
    BLK_ZERO_SECTORS: int
    BUS_DOORS: int
    BUS_PIECES: int
    BUS_QUEUE: int
    BUS_READERS: int
    BUS_REGISTERS: int
    DEBUG_GOES: int
    DEBUG_HELD: int
    DEBUG_STOPPED: int
    DMA_PIECE: int
    KVM_CAP_ADJUST_CLOCK: int
    KVM_CAP_BINARY_STATS_FD: int
    KVM_CAP_EXT_CPUID: int
    KVM_CAP_GET_TSC_KHZ: int
    KVM_CAP_IMMEDIATE_EXIT: int
    KVM_CAP_IOEVENTFD: int
    KVM_CAP_IRQCHIP: int
    KVM_CAP_IRQFD: int
    KVM_CAP_IRQ_ROUTING: int
    KVM_CAP_KVMCLOCK_CTRL: int
    KVM_CAP_MAX_VCPUS: int
    KVM_CAP_NR_MEMSLOTS: int
    KVM_CAP_NR_VCPUS: int
    KVM_CAP_PIT2: int
    KVM_CAP_READONLY_MEM: int
    KVM_CAP_SET_GUEST_DEBUG: int
    KVM_CAP_SET_GUEST_DEBUG2: int
    KVM_CAP_SET_IDENTITY_MAP_ADDR: int
    KVM_CAP_SET_TSS_ADDR: int
    KVM_CAP_SYNC_REGS: int
    KVM_CAP_TSC_DEADLINE_TIMER: int
    KVM_CAP_USER_MEMORY: int
    KVM_CAP_VCPU_ATTRIBUTES: int
    KVM_CAP_X86_MSR_FILTER: int
    KVM_CAP_X86_USER_SPACE_MSR: int
    KVM_CAP_XSAVE: int
    KVM_CHECK_EXTENSION: int
    KVM_CREATE_IRQCHIP: int
    KVM_CREATE_PIT2: int
    KVM_CREATE_VCPU: int
    KVM_CREATE_VM: int
    KVM_ENABLE_CAP: int
    KVM_EXIT_FAIL_ENTRY: int
    KVM_EXIT_HLT: int
    KVM_EXIT_INTERNAL_ERROR: int
    KVM_EXIT_SHUTDOWN: int
    KVM_EXIT_SYSTEM_EVENT: int
    KVM_GET_API_VERSION: int
    KVM_GET_CLOCK: int
    KVM_GET_DEBUGREGS: int
    KVM_GET_DEVICE_ATTR: int
    KVM_GET_IRQCHIP: int
    KVM_GET_LAPIC: int
    KVM_GET_MP_STATE: int
    KVM_GET_MSRS: int
    KVM_GET_MSR_INDEX_LIST: int
    KVM_GET_PIT2: int
    KVM_GET_REGS: int
    KVM_GET_SREGS: int
    KVM_GET_STATS_FD: int
    KVM_GET_SUPPORTED_CPUID: int
    KVM_GET_TSC_KHZ: int
    KVM_GET_VCPU_EVENTS: int
    KVM_GET_VCPU_MMAP_SIZE: int
    KVM_GET_XCRS: int
    KVM_GET_XSAVE: int
    KVM_GUESTDBG_BLOCKIRQ: int
    KVM_GUESTDBG_INJECT_BP: int
    KVM_GUESTDBG_INJECT_DB: int
    KVM_GUESTDBG_SINGLESTEP: int
    KVM_GUESTDBG_USE_HW_BP: int
    KVM_GUESTDBG_USE_SW_BP: int
    KVM_INTERRUPT: int
    KVM_IOEVENTFD: int
    KVM_IRQFD: int
    KVM_IRQ_LINE: int
    KVM_KVMCLOCK_CTRL: int
    KVM_NMI: int
    KVM_RUN: int
    KVM_SET_CLOCK: int
    KVM_SET_CPUID2: int
    KVM_SET_DEBUGREGS: int
    KVM_SET_DEVICE_ATTR: int
    KVM_SET_GSI_ROUTING: int
    KVM_SET_IDENTITY_MAP_ADDR: int
    KVM_SET_IRQCHIP: int
    KVM_SET_LAPIC: int
    KVM_SET_MP_STATE: int
    KVM_SET_MSRS: int
    KVM_SET_PIT2: int
    KVM_SET_REGS: int
    KVM_SET_SREGS: int
    KVM_SET_TSS_ADDR: int
    KVM_SET_USER_MEMORY_REGION: int
    KVM_SET_VCPU_EVENTS: int
    KVM_SET_XCRS: int
    KVM_SET_XSAVE: int
    KVM_SYNC_X86_REGS: int
    KVM_SYNC_X86_SREGS: int
    KVM_SYSTEM_EVENT_CRASH: int
    KVM_SYSTEM_EVENT_RESET: int
    KVM_SYSTEM_EVENT_SHUTDOWN: int
    KVM_TRANSLATE: int
    KVM_X86_SET_MSR_FILTER: int
    MEMORY_ANONYMOUS: MemoryBehind
    MEMORY_CROWDED: MemoryBehind
    MEMORY_FILLED: MemoryBehind
    MEMORY_REGIONS: int
    MEMORY_SHARED: MemoryBehind
    NET_FRAME: int
    NET_HEADER: int
    NET_PAIRS: int
    PERF_FIELDS: int
    REQUEST_CONSOLE_IN: int
    REQUEST_CONSOLE_OUT: int
    REQUEST_CONTROL: int
    REQUEST_DEFLATE: int
    REQUEST_DISCARD: int
    REQUEST_ENTROPY: int
    REQUEST_ERROR: int
    REQUEST_EVENT: int
    REQUEST_FLUSH: int
    REQUEST_FREE_PAGES: int
    REQUEST_GET_ID: int
    REQUEST_INFLATE: int
    REQUEST_OK: int
    REQUEST_OTHER: int
    REQUEST_READ: int
    REQUEST_RECEIVE: int
    REQUEST_STATISTICS: int
    REQUEST_TRANSMIT: int
    REQUEST_UNSUPPORTED: int
    REQUEST_WRITE: int
    REQUEST_WRITE_ZEROES: int
    RING_DROP: int
    RING_OVERWRITE: int
    RING_WAIT: int
    SIGNAL_ASKS: SignalsUse
    SIGNAL_ENDS: SignalsUse
    SIGNAL_GOES_ON: SignalsUse
    SIGNAL_STOPS: SignalsUse
    SIGNAL_TELLS: SignalsUse
    SLOTS: int
    VCPU_ACCESS: VcpuOutcome
    VCPU_DEBUG: VcpuOutcome
    VCPU_DUE: VcpuOutcome
    VCPU_EXAMINE: VcpuOutcome
    VCPU_EXIT: VcpuOutcome
    VCPU_FAILED: VcpuOutcome
    VCPU_INTERRUPT: VcpuOutcome
    VCPU_REPLAY: VcpuOutcome
    VCPU_STOPPED: VcpuOutcome
    VIRTQUEUE_AHEAD: VirtqueueFault
    VIRTQUEUE_BAD_HEAD: VirtqueueFault
    VIRTQUEUE_BAD_NEXT: VirtqueueFault
    VIRTQUEUE_BAD_SIZE: VirtqueueFault
    VIRTQUEUE_BAD_TABLE: VirtqueueFault
    VIRTQUEUE_EMPTY: VirtqueueFault
    VIRTQUEUE_MALFORMED: VirtqueueFault
    VIRTQUEUE_MISALIGNED: VirtqueueFault
    VIRTQUEUE_MOVED: int
    VIRTQUEUE_NESTED: VirtqueueFault
    VIRTQUEUE_NOT_LAST: VirtqueueFault
    VIRTQUEUE_NOT_OFFERED: VirtqueueFault
    VIRTQUEUE_NO_BUFFER: VirtqueueFault
    VIRTQUEUE_NO_RAM: VirtqueueFault
    VIRTQUEUE_ORDER: VirtqueueFault
    VIRTQUEUE_SIZE: int
    VIRTQUEUE_SOUND: VirtqueueFault
    VIRTQUEUE_TOO_LARGE: VirtqueueFault
    VIRTQUEUE_TOO_LONG: VirtqueueFault
    VIRTUAL_NEVER: int
    VSOCK_BUFFER: int
    VSOCK_CONNECTIONS: int
    VSOCK_PATH: int
    VSOCK_RESETS: int
    WORKER_QUEUES: int
    WRITE_COALESCED: int
    WRITE_IGNORED: int
    WRITE_PYTHON: int
    def bits_change(self, bits: Pointer[Uint64], set: int, clear: int, /) -> int: ...
    blk_device: WorkerDevice
    def blk_failed(self, blk: Pointer[Blk], kind: Pointer[Uint32], /) -> int: ...
    def blk_init(self, blk: Pointer[Blk], /) -> None: ...
    def bus_bits(self, bus: Pointer[Bus], region: int, offset: int, size: int, /) -> Pointer[Uint64]: ...
    def bus_clears(self, bus: Pointer[Bus], region: int, offset: int, size: int, of: int, /) -> bool: ...
    def bus_free(self, bus: Pointer[Bus], /) -> None: ...
    def bus_new(self, n_regions: int, n_devices: int, event: int, /) -> BusPointer: ...
    def bus_remap(self, bus: Pointer[Bus], ranges: Pointer[BusRange], n_ports: int, n_mmio: int, /) -> bool: ...
    def bus_ring(self, bell: Pointer[BusBell], number: int, tsc: int, /) -> None: ...
    def bus_rings(self, bus: Pointer[Bus], region: int, offset: int, size: int, bell: Pointer[BusBell], /) -> bool: ...
    def bus_shadow(self, bus: Pointer[Bus], region: int, offset: int, size: int, read: bool, value: int, /) -> bool: ...
    def bus_shadow_writes(self, bus: Pointer[Bus], region: int, offset: int, size: int, mask: int, /) -> bool: ...
    def bus_take(self, bus: Pointer[Bus], pieces: Pointer[BusPiece], bytes: Pointer[Uint8] | bytes, /) -> int: ...
    def bus_wait(self, bus: Pointer[Bus], linger: int, timeout: int, /) -> None: ...
    def bus_writes(self, bus: Pointer[Bus], region: int, offset: int, size: int, how: int, /) -> bool: ...
    def call_pointer(self, fd: int, request: int, argument: Pointer[Any] | bytes, /) -> int: ...
    def call_value(self, fd: int, request: int, argument: int, /) -> int: ...
    def capture_begin(self, capture: Pointer[Capture], blocks: Pointer[Any] | bytes, size: int, /) -> int: ...
    def capture_end(self, capture: Pointer[Capture], blocks: Pointer[Any] | bytes, size: int, /) -> None: ...
    def capture_flush(self, capture: Pointer[Capture], /) -> None: ...
    def capture_frame(
        self, capture: Pointer[Capture], frame: Pointer[Any] | bytes, size: int, inward: bool, /
    ) -> None: ...
    def chain_read(self, chain: Pointer[VirtqueueChain], at: int, bytes: Pointer[Any] | bytes, size: int, /) -> int: ...
    def chain_write(
        self, chain: Pointer[VirtqueueChain], at: int, bytes: Pointer[Any] | bytes, size: int, /
    ) -> int: ...
    def dma_acted(self, /) -> None: ...
    def dma_acts(self, device: int, /) -> None: ...
    def dma_begin(self, dma: Pointer[Dma], /) -> None: ...
    def dma_drain(self, ring: Pointer[Ring], tsc_start: int, tsc_khz: int, columns: Pointer[DmaColumns], /) -> int: ...
    dma_full: Any
    def dma_read(self, host: Pointer[Any] | bytes, length: int, /) -> None: ...
    def dma_take(
        self, ring: Pointer[Ring], transfer: Pointer[DmaTransfer], bytes: Pointer[Uint8] | bytes, /
    ) -> bool: ...
    def dma_wrote(self, host: Pointer[Any] | bytes, length: int, /) -> None: ...
    def free(self, memory: Pointer[Any] | bytes, /) -> None: ...
    def gate_close(self, gate: Pointer[Gate], /) -> None: ...
    def gate_open(self, gate: Pointer[Gate], /) -> None: ...
    def host_cpuid(self, function: int, registers: Pointer[Uint32], /) -> None: ...
    def memory_advise(self, start: Pointer[Any] | bytes, size: int, huge: bool, /) -> int: ...
    def memory_at(self, memory: Pointer[Memory], address: int, size: int, write: bool, /) -> Pointer[Any]: ...
    def memory_discard(self, start: Pointer[Any] | bytes, size: int, behind: MemoryBehind, /) -> int: ...
    def memory_guard(self, start: Pointer[Any] | bytes, size: int, lost: Pointer[Uint32], /) -> bool: ...
    def memory_lock(self, start: Pointer[Any] | bytes, size: int, /) -> int: ...
    def memory_map(self, size: int, alignment: int, fd: int, protection: int, flags: int, /) -> Pointer[Any]: ...
    def memory_map_file(
        self, start: Pointer[Any] | bytes, size: int, fd: int, offset: int, protection: int, /
    ) -> int: ...
    def memory_populate(self, start: Pointer[Any] | bytes, size: int, /) -> int: ...
    def memory_unguard(self, start: Pointer[Any] | bytes, /) -> None: ...
    def memory_unmap(self, start: Pointer[Any] | bytes, size: int, /) -> None: ...
    def net_attach(self, net: Pointer[Net], pair: int, fd: int, /) -> None: ...
    def net_begin(self, net: Pointer[Net], features: int, /) -> None: ...
    def net_new(self, n_pairs: int, backend: Pointer[NetBackend], /) -> NetPointer: ...
    net_relay: NetBackend
    def net_relay_close(self, net: Pointer[Net], /) -> None: ...
    def net_relay_give(self, net: Pointer[Net], frame: Pointer[Any] | bytes, size: int, /) -> bool: ...
    def net_relay_open(self, net: Pointer[Net], backend: Pointer[Net], fd: int, trouble: int, /) -> int: ...
    def net_relay_room(self, net: Pointer[Net], /) -> int: ...
    def net_relay_settle(self, net: Pointer[Net], /) -> None: ...
    def net_relay_waiting(self, net: Pointer[Net], size: Pointer[Uint32], /) -> Pointer[Uint8]: ...
    def net_reset(self, net: Pointer[Net], /) -> None: ...
    net_stream: NetBackend
    def net_stream_close(self, net: Pointer[Net], /) -> None: ...
    def net_stream_open(self, net: Pointer[Net], fd: int, listening: bool, /) -> int: ...
    net_tap: NetBackend
    def net_use(self, net: Pointer[Net], pairs: int, /) -> None: ...
    net_user: NetBackend
    def net_user_close(self, net: Pointer[Net], /) -> None: ...
    def net_user_forward(
        self, net: Pointer[Net], udp: bool, host: int, host_port: int, guest: int, port: int, /
    ) -> int: ...
    def net_user_open(self, net: Pointer[Net], restricted: bool, mtu: int, /) -> Pointer[Char]: ...
    def perf_clock_read(self, clock: Pointer[PerfClock], tsc_start: int, tsc_khz: int, /) -> None: ...
    def perf_drain(
        self,
        rings: Pointer[PerfRing],
        n: int,
        formats: Pointer[PerfFormat],
        n_formats: int,
        clock: Pointer[PerfClock],
        names: Pointer[PerfNames],
        columns: Pointer[TracepointsColumns],
        /,
    ) -> int: ...
    def perf_map(self, ring: Pointer[PerfRing], fd: int, size: int, vcpu: int, /) -> bool: ...
    def perf_open(self, id: int, thread: int, output: int, watermark: int, /) -> int: ...
    def perf_ring_init(self, ring: Pointer[PerfRing], page: Pointer[Any] | bytes, size: int, vcpu: int, /) -> None: ...
    def perf_unmap(self, ring: Pointer[PerfRing], /) -> None: ...
    def perf_wait(self, fds: Pointer[Int], n: int, event: int, milliseconds: int, /) -> None: ...
    pmem_device: WorkerDevice
    def populate(self, start: Pointer[Any] | bytes, size: int, run: Pointer[Populating], /) -> None: ...
    def process_spawn(
        self,
        program: Pointer[Char] | bytes,
        arguments: Pointer[Pointer[Char]],
        environment: Pointer[Pointer[Char]],
        streams: int,
        channel: int,
        /,
    ) -> int: ...
    def requests_benchmark(
        self, requests: Pointer[Requests], chain: Pointer[VirtqueueChain], samples: Pointer[Uint32], n: int, /
    ) -> None: ...
    def requests_close(self, requests: Pointer[Requests], /) -> None: ...
    def requests_drain(
        self, ring: Pointer[Ring], tsc_start: int, tsc_khz: int, columns: Pointer[RequestsColumns], /
    ) -> int: ...
    def requests_init(
        self, requests: Pointer[Requests], base: Pointer[Any] | bytes, slots: int, policy: int, event: int, /
    ) -> None: ...
    def requests_record(
        self,
        requests: Pointer[Requests],
        chain: Pointer[VirtqueueChain],
        device: int,
        queue: int,
        written: int,
        tsc_done: int,
        /,
    ) -> None: ...
    def ring_benchmark(self, ring: Pointer[Ring], samples: Pointer[Uint32], n: int, /) -> None: ...
    def ring_close(self, ring: Pointer[Ring], /) -> None: ...
    def ring_init(
        self, ring: Pointer[Ring], base: Pointer[Any] | bytes, slots: int, payload_size: int, policy: int, event: int, /
    ) -> None: ...
    def ring_pause(self, ring: Pointer[Ring], tsc: int, /) -> None: ...
    def ring_resume(self, ring: Pointer[Ring], tsc: int, /) -> None: ...
    def rings_commit(self, rings: Pointer[Ring], n: int, /) -> None: ...
    def rings_drain(
        self, rings: Pointer[Ring], n: int, tsc_start: int, tsc_khz: int, now: int, columns: Pointer[ExitsColumns], /
    ) -> int: ...
    def rings_wait(self, event: int, milliseconds: int, /) -> None: ...
    def run_hardware_reason(self, run: Pointer[KvmRun], /) -> int: ...
    def run_internal_data(self, run: Pointer[KvmRun], data: Pointer[Uint64], /) -> int: ...
    def run_rip(self, run: Pointer[KvmRun], /) -> int: ...
    def run_suberror(self, run: Pointer[KvmRun], /) -> int: ...
    def run_system_event(self, run: Pointer[KvmRun], /) -> int: ...
    signals: Signals
    def signals_catch(self, number: int, use: SignalsUse, /) -> bool: ...
    def signals_leave(self, path: Pointer[Char] | bytes, /) -> bool: ...
    def signals_release(self, number: int, /) -> None: ...
    def terminal_close(self, /) -> None: ...
    def terminal_open(self, fd: int, /) -> bool: ...
    def terminal_take(self, /) -> bool: ...
    def tsc_now(self, /) -> int: ...
    def vcpu_debug(self, vcpu: Pointer[Vcpu], inject: int, /) -> bool: ...
    def vcpu_finish(self, vcpu: Pointer[Vcpu], /) -> None: ...
    def vcpu_handle(self, vcpu: Pointer[Vcpu], outcome: Pointer[VcpuOutcome], /) -> bool: ...
    def vcpu_handle_signal(self, signal: int, /) -> bool: ...
    def vcpu_kick(self, vcpu: Pointer[Vcpu], thread: int, signal: int, /) -> None: ...
    def vcpu_leave(self, vcpu: Pointer[Vcpu], /) -> None: ...
    def vcpu_release(self, vcpu: Pointer[Vcpu], /) -> None: ...
    def vcpu_run(self, vcpu: Pointer[Vcpu], /) -> VcpuOutcome: ...
    def vcpu_stands(self, vcpu: Pointer[Vcpu], /) -> bool: ...
    def vcpu_stop(self, vcpu: Pointer[Vcpu], thread: int, signal: int, /) -> None: ...
    vhost_device: WorkerDevice
    def virtqueue_busy(self, queue: Pointer[Virtqueue], /) -> None: ...
    def virtqueue_gather(self, queue: Pointer[Virtqueue], /) -> None: ...
    def virtqueue_hides(self, queue: Pointer[Virtqueue], /) -> bool: ...
    def virtqueue_interrupts(self, queue: Pointer[Virtqueue], /) -> bool: ...
    def virtqueue_publish(self, queue: Pointer[Virtqueue], /) -> None: ...
    def virtqueue_put(self, queue: Pointer[Virtqueue], head: int, written: int, /) -> None: ...
    def virtqueue_resume(self, queue: Pointer[Virtqueue], taken: int, put: int, /) -> None: ...
    def virtqueue_start(
        self,
        queue: Pointer[Virtqueue],
        memory: Pointer[Memory],
        size: int,
        descriptors: int,
        available: int,
        used: int,
        features: int,
        /,
    ) -> VirtqueueFault: ...
    def virtqueue_stop(self, queue: Pointer[Virtqueue], /) -> None: ...
    def virtqueue_take(self, queue: Pointer[Virtqueue], chain: Pointer[VirtqueueChain], /) -> bool: ...
    def virtqueue_tell(self, queue: Pointer[Virtqueue], tsc: int, /) -> None: ...
    def virtqueue_wait(self, queue: Pointer[Virtqueue], /) -> bool: ...
    def virtual_load_tsc(self, tsc: int, fd: int, /) -> bool: ...
    def virtual_tsc_step(self, state: Pointer[Uint64], step: int, /) -> int: ...
    def vsock_close(self, vsock: Pointer[Vsock], /) -> None: ...
    vsock_device: WorkerDevice
    def vsock_open(self, vsock: Pointer[Vsock], /) -> int: ...
    def vsock_reset(self, vsock: Pointer[Vsock], /) -> None: ...
    worker_echo: WorkerDevice
    def worker_end(self, worker: Pointer[Worker], patience: int, /) -> None: ...
    def worker_hold(self, worker: Pointer[Worker], /) -> None: ...
    def worker_mask(self, worker: Pointer[Worker], queue: int, masked: bool, /) -> None: ...
    worker_net: WorkerDevice
    def worker_release(self, worker: Pointer[Worker], /) -> None: ...
    def worker_serve(self, worker: Pointer[Worker], /) -> None: ...
    def worker_start(self, worker: Pointer[Worker], /) -> int: ...

ffi: FFI
lib: Lib

"""Mistakes at the border to C that mypy must report, each with its code. Nothing runs this."""

from runner.kvm.ioctl import call
from runner.native import _native

ffi, lib = _native.ffi, _native.lib

loop = ffi.new("struct vcpu *")
rings = ffi.new("struct ring[]", 2)
print(loop.recrod)  # error: attr-defined
print(loop.record.tsc_end)  # error: attr-defined
print(loop.kept.regs.eax)  # error: attr-defined
print(rings.mask)  # error: attr-defined
print(rings[0].control.heads)  # error: attr-defined
loop.sync = True  # error: attr-defined
loop.fd = "3"  # error: assignment
loop.ring = rings[0]  # error: assignment
loop.access.data = ffi.addressof(rings, 0)  # error: assignment
ffi.new("struct gate *", {"trun": 1})  # error: call-overload
ffi.new("struct vcpus *")  # error: call-overload
ffi.cast("struct kvm_runs *", loop)  # error: call-overload
lib.vcpu_rum(loop)  # error: attr-defined
lib.vcpu_run(loop.ring)  # error: arg-type
lib.vcpu_run(loop[0])  # error: arg-type
lib.vcpu_run()  # error: call-arg
lib.ring_close(rings[0])  # error: arg-type
lib.host_cpuid(0, ffi.new("uint64_t[]", 4))  # error: arg-type
lib.signals_catch(2, lib.VCPU_EXIT)  # error: arg-type
lib.signals_leave("file")  # error: arg-type
print(lib.KVM_CAP_IRQ_FD)  # error: attr-defined
number: int = lib.bus_new(0, 0, -1)  # error: assignment
call(loop.fd, "KVM_SET_REGS", loop.kept.regs)  # error: arg-type

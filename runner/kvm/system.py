"""/dev/kvm: what the host's KVM can do (Documentation/virt/kvm/api.rst, system ioctls)."""

import errno
import os
from pathlib import Path

from runner.kvm.errors import HostError, KvmError
from runner.kvm.ioctl import call, ffi, lib
from runner.kvm.vm import VM
from runner.x86.cpuid import CpuidEntry, completed

API_VERSION = 12


class System:
    """The system file descriptor."""

    def __init__(self, path: str = "/dev/kvm") -> None:
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise HostError(
                f"{path} does not exist: load the KVM module (modprobe kvm_intel or kvm_amd), and check that "
                "virtualisation is enabled in the firmware or for this virtual machine"
            ) from None
        except PermissionError:
            raise HostError(f"no permission to open {path}: {_permission(path)}") from None
        except OSError as error:
            hint = "; allow more of them with ulimit -n" if error.errno == errno.EMFILE else ""
            raise HostError(f"{path} cannot be opened: {error.strerror}{hint}") from None

    def check_api_version(self) -> None:
        """KVM_GET_API_VERSION must be 12, the only stable one."""
        try:
            version = call(self.fd, "KVM_GET_API_VERSION")
        except KvmError as error:
            raise HostError(f"/dev/kvm is not KVM: {error}") from None
        if version != API_VERSION:
            raise HostError(f"this host's KVM has API version {version}, vmrun needs {API_VERSION}")

    def check_extension(self, capability: str) -> int:
        """KVM_CHECK_EXTENSION: 0 if the host lacks the capability, else 1 or the number that the capability has."""
        return call(self.fd, "KVM_CHECK_EXTENSION", int(getattr(lib, capability)))

    def create_vm(self) -> VM:
        """KVM_CREATE_VM."""
        while True:
            try:
                return VM(call(self.fd, "KVM_CREATE_VM", 0))
            except KvmError as error:
                if error.errno != errno.EINTR:
                    raise

    def vcpu_mmap_size(self) -> int:
        """KVM_GET_VCPU_MMAP_SIZE: bytes of the kvm_run mapping."""
        return call(self.fd, "KVM_GET_VCPU_MMAP_SIZE")

    def supported_cpuid(self) -> list[CpuidEntry]:
        """KVM_GET_SUPPORTED_CPUID, completed: the CPUID that this host can give a guest."""
        size = 128
        while True:
            cpuid = ffi.new("struct kvm_cpuid2 *", {"entries": size})
            cpuid.nent = size
            try:
                call(self.fd, "KVM_GET_SUPPORTED_CPUID", cpuid)
                break
            except KvmError as error:
                if error.errno != errno.E2BIG or size > 4096:
                    raise
                size *= 2
        supported = [
            CpuidEntry(entry.function, entry.index, entry.flags, entry.eax, entry.ebx, entry.ecx, entry.edx)
            for entry in cpuid.entries[0 : cpuid.nent]
        ]
        return completed(supported, host_cpuid)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


def host_cpuid(function: int) -> tuple[int, int, int, int]:
    """EAX, EBX, ECX and EDX of the host's own CPUID leaf."""
    registers = ffi.new("uint32_t[]", 4)
    lib.host_cpuid(function, registers)
    eax, ebx, ecx, edx = registers
    return eax, ebx, ecx, edx


def _permission(path: str) -> str:
    """The advice that grants access to the device."""
    import grp

    status = Path(path).stat()
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    if status.st_mode & 0o060 == 0o060 and status.st_gid:
        return f"add yourself to its group (usermod -aG {group} $USER) and log in again"
    mode = f"{status.st_mode & 0o777:04o}"
    give = f"chgrp kvm {path}; chmod 660 {path}"
    return f"it belongs to group {group} with mode {mode}; as root: {give} (a udev rule keeps it so)"

"""Files of Debian's packages given as kernels, some by mistake."""

import pytest

from tests.guests import debian
from vmspec import SpecError, loads
from vmspec.planner import plan

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(
    ("package", "name", "what"),
    [
        ("xen-hypervisor-4.17-amd64", "boot/xen-4.17-amd64.efi", "is an EFI application for x86-64"),
        ("ipxe", "boot/ipxe.lkrn", "is started only by its 16-bit setup code, which needs a BIOS"),
        ("memtest86+", "usr/lib/memtest86+/memtest86+x64.iso", "is an ISO 9660 disk image"),
    ],
)
def test_what_is_no_kernel_is_named(package, name, what):
    path = debian.files(package) / name
    spec = loads(f'[vm]\nname = "x"\n[boot]\nkernel = "{path}"\n', path.parent)
    with pytest.raises(SpecError, match=what):
        plan(spec)


def test_xen_is_started_as_its_package_has_it():
    path = debian.files("xen-hypervisor-4.17-amd64") / "boot/xen-4.17-amd64.gz"
    planned = plan(loads(f'[vm]\nname = "x"\nmemory = "64MiB"\n[boot]\nkernel = "{path}"\n', path.parent))
    assert (planned.protocol, planned.notes[0]) == ("multiboot", "boot.kernel is a gzip file; of it: kernel")

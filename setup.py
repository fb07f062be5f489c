"""The one thing pyproject.toml cannot say: the C extension is built where linux/kvm.h exists, and left out elsewhere.

vmspec and vmtrace need no KVM and install everywhere; vmrun says plainly what it needs where the extension is missing.
"""

import subprocess
import sys
import sysconfig

from setuptools import setup


def has_kvm_header() -> bool:
    """Whether the C compiler finds linux/kvm.h of an x86-64 host."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    source = "#include <linux/kvm.h>\nstruct kvm_sregs probe; int x[sizeof probe.efer];\n"
    try:
        probe = subprocess.run(
            [*compiler, "-xc", "-fsyntax-only", "-"], check=False, input=source, text=True, capture_output=True
        )
    except OSError:
        return False
    return probe.returncode == 0


modules = ["runner/native/build.py:ffibuilder"] if sys.platform == "linux" and has_kvm_header() else []
if not modules:
    print("vmrun: no linux/kvm.h for x86-64 found: vmspec and vmtrace are installed, vmrun will not run machines")
setup(cffi_modules=modules)

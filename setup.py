"""The one thing pyproject.toml cannot say: the C extension is built where it can be, and left out elsewhere.

vmspec and vmtrace need no KVM and install everywhere. Pip hides what a build prints, so the reason is left in
runner/native/unbuilt.txt, which vmrun prints when it is started.
"""

import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import setup

UNBUILT = Path(__file__).parent / "runner" / "native" / "unbuilt.txt"

# What the extension is compiled with, and the Debian packages that have it, in the order in which they miss each other.
HEADERS = (("stdio.h", "libc6-dev"), ("linux/kvm.h", "linux-libc-dev"), ("Python.h", "python3-dev"))


def unbuilt() -> str | None:
    """Why the extension cannot be built here, in a line; None where it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"it is for Linux on x86-64, and this is {platform.system()} on {platform.machine()}"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    includes = {f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")}
    for header, package in HEADERS:
        try:
            done = subprocess.run(
                [*compiler, *includes, "-xc", "-fsyntax-only", "-"],
                check=False, input=f"#include <{header}>\n", text=True, capture_output=True,
            )  # fmt: skip
        except OSError as error:
            return f"the C compiler {compiler[0]} could not be run: {error.strerror} (Debian: apt-get install gcc)"
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error:" in line] or ["no reason given"]
            return f"{header} was not found (Debian: apt-get install {package}); the compiler said: {lines[0].strip()}"
    return None


if __name__ == "__main__":
    reason = unbuilt()
    if reason is None:
        UNBUILT.unlink(missing_ok=True)
    else:
        UNBUILT.write_text(f"{reason}\n")
        print(f"vmrun: the C extension is left out, and vmrun will not run machines: {reason}")
    setup(
        cffi_modules=["runner/native/build.py:ffibuilder"] if reason is None else [],
        # cffi's extensions keep to the limited API: one wheel serves this version of Python and all later ones.
        options={"bdist_wheel": {"py_limited_api": "cp311"}} if reason is None else {},
    )

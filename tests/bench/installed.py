"""The product as a user installs it: in its own environment, with only its own dependencies."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = ROOT / "build" / "bench-venv"


def vmrun() -> str:
    """The path of a fresh installation's ``vmrun``. (The test environment has numpy, which pyarrow imports where it is
    there, and an editable install, whose finder takes time.)"""
    if not (ENVIRONMENT / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    # setuptools keeps what is newer than its source, and an older commit's sources are not new.
    for built in (*ENVIRONMENT.parent.glob("lib.*"), *ENVIRONMENT.parent.glob("temp.*")):
        shutil.rmtree(built)
    pip = [ENVIRONMENT / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", ROOT], check=True)
    subprocess.run([*pip, "install", "--force-reinstall", "--no-deps", ROOT], check=True)
    return str(ENVIRONMENT / "bin" / "vmrun")

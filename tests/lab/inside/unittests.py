"""Runs inside the lab: KVM's unit tests, one after the other, each added to FILE as tests.kvmunit does.

unittests.py FILE UNDER-WAY NAMES OPTIONS...

NAMES is a file with a name a line, UNDER-WAY one that has the name of the test under way: the emulated host may end at
any moment. OPTIONS are those of tests.kvmunit.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from tests.kvmunit.__main__ import main
from tests.lab.inside import unpatched

if __name__ == "__main__":
    file, under_way, names = map(Path, sys.argv[1:4])
    unpatched.keep()
    # vmrun's process is used again: starting it takes longer than most tests here.
    main([*sys.argv[4:], "--json", str(file), "--only", *names.read_text().split()], started=under_way.write_text)
    under_way.unlink(missing_ok=True)

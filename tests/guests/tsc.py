"""A guest that counts by its TSC, and what it sees of a pause."""

import time
from typing import Any

from runner.native._native import lib
from tests.fakes.processes import eventually

# 1: rdtsc; mov %eax, 0x8000; mov %edx, 0x8004; jmp 1b - the TSC at PLACE, for ever, in real mode
CODE = bytes.fromhex("0f31 66a30080 6689160480 ebf3")
PLACE = 0x8000


def of_a_pause(run: Any) -> tuple[int, int]:
    """Pause the guest, resume it, pause it: how far its TSC has counted between the pauses, and at most may have."""

    def tsc() -> int:
        return int.from_bytes(run._session.machine.memory.read(PLACE, 8), "little")

    def goes_on() -> None:
        before = tsc()
        eventually(lambda: tsc() > before, "it stands still")

    goes_on()
    begin = lib.tsc_now()
    goes_on()  # so what it has at the pause was read after this
    goes_on()
    assert run.pause()
    stood, before = lib.tsc_now(), tsc()
    time.sleep(0.3)
    going = lib.tsc_now()
    assert run.resume()
    eventually(lambda: tsc() > before, "it stands still")
    assert run.pause()
    return tsc() - before, lib.tsc_now() - begin - (going - stood)

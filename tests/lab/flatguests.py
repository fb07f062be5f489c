"""The small guests that run on both hosts of the lab, to compare their exits.

None of them spins without exits and with interrupts off: Bochs could not leave it (README.md beside this file).
"""

from pathlib import Path
from typing import Any, NamedTuple

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Guest(NamedTuple):
    """A spec: the file of an example, or code (hexadecimal) with the tables that are not as usual."""

    code: str = ""
    mode: str = "real"
    vm: dict[str, Any] = {}  # noqa: RUF012 - never changed
    boot: dict[str, Any] = {}  # noqa: RUF012
    device: tuple[dict[str, Any], ...] = ({"kind": "debug-port"},)
    example: str = ""

    def spec(self) -> dict[str, Any]:
        """The spec as TOML has it."""
        vm = {"name": "guest", "memory": "2MiB", "timeout": "20s"} | self.vm
        return {"vm": vm, "boot": {"mode": self.mode, "code": self.code} | self.boot, "device": list(self.device)}


# Long mode. The last 2 MiB of the address space are mapped to physical 0; four bytes are put at -4 and jumped to.
HIGH = (
    "48a10000090000000000 48a3f80f090000000000 48a10010090000000000 48a3f81f090000000000 48b88300000000000000"
    "48a3f82f090000000000 0f20d80f22d8 b8{} a3fcff1f0000000000 48c7c0fcffffff ffe0"
)
SERIAL = {"kind": "serial", "input": "none"}

GUESTS = {
    "hello": Guest(example="hello/hello.toml"),
    "protected": Guest(example="modes/protected.toml"),
    "long": Guest(example="modes/long.toml"),
    "mmio": Guest(example="mmio/mmio.toml"),
    "own-device": Guest(example="own-device/own-device.toml"),
    "debug-exit": Guest(example="debug-exit/debug-exit.toml"),
    # out and in of one, two and four bytes, by number and by dx; to nobody, and across the end of a claim
    "port-widths": Guest(
        "b878563412 e680 e781 e580 e480 66ba7856 ee 66ef ef ec 66ed ed 66bae900 ef 66bae800 ed f4", "protected"
    ),
    # rep outsb, outsw and outsd of eight items, rep insb and insd, and what came in out again
    "port-strings": Guest(
        "fc be00100000 66bae900 b908000000 f36e b908000000 66f36f b908000000 f36f bf00400000 66ba7856 b908000000 f36c"
        "b908000000 f36d be00400000 66bae900 b928000000 f36e f4",
        "protected",
    ),
    # Reads and writes of one, two and four bytes, also across a page's end; all of it twice, as the first access to a
    # page may come in another way.
    "mmio-widths": Guest(
        "b902000000 bf000000d0 b878563412 8807 668907 8907 8a07 668b07 8b07 0fb607 0fb707 8987fe0f0000 8b87fe0f0000"
        "c7471001000000 e2d7 f4",
        "protected",
    ),
    "mmio-eight-bytes": Guest("bf000000d0 48b8efcdab8967452301 488907 488b07 488987fc0f0000 f4", "long"),
    # lock add, xchg and inc of memory that is none, a string moved to it, a push of it
    "mmio-modify": Guest("bf000000d0 f00107 8707 ff07 fc be00100000 b904000000 f3a4 ff7720 f4", "protected"),
    # line status, text, DLAB's divisor
    "serial": Guest(
        "bafd03 ec baf803 b068 ee b069 ee bafd03 ec bafb03 b083 ee baf803 ec bafb03 b003 ee f4", device=(SERIAL,)
    ),
    "keyboard-controller": Guest("e464 b0aa e664 e464 e460 b020 e664 e460 f4", device=({"kind": "i8042"},)),
    "clock": Guest("b00d e670 e471 b00b e670 e471 b034 e670 e471 f4", device=({"kind": "rtc"},)),
    "cpuid": Guest("31c0 0fa2 b801000000 0fa2 b800000080 0fa2 31c0 e6e9 f4", "protected"),
    # the TSC's and SYSENTER_CS
    "msrs": Guest("b910000000 0f32 0f30 b974010000 31c0 31d2 0f30 0f32 e6e9 f4", "protected"),
    # CR0, CR4, CR3 and DR0 read and written, wbinvd, pause
    "control-registers": Guest(
        "0f20c0 0f22c0 0f20e0 0f22e0 0f20d8 0f22d8 0f21c0 0f23c0 0f09 f390 f390 e6e9 f4", "protected"
    ),
    "halted-vcpus": Guest("b031 e6e9 f4", vm={"vcpus": 2}),
    "spin": Guest("fb ebfe", vm={"timeout": "300ms"}),  # sti, or Bochs never comes back
    "flood": Guest("b9f401 e680 e2fc f4"),
    "hypercall": Guest("b80a000000 31db 0f01d9 e6e9 f4", "protected"),  # vmmcall, which KVM replaces on Intel
    "triple-fault": Guest("90 e680 0f0b", "protected", boot={"registers": {"rax": 0x11223344}}),
    "triple-fault-high": Guest(HIGH.format("e6800f0b"), "long"),
    "triple-fault-at-once": Guest("0f0b", "protected"),
    "out-of-ram": Guest("b040 e6e9 ea1000ffff", vm={"memory": "1MiB"}),
    "reset": Guest("b0fe e664 f4", device=({"kind": "i8042"},)),
}

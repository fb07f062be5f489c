"""Mistakes that mypy must report, each with its code. Nothing runs this."""

from pathlib import Path

import runner
import tracer
import vmspec
from runner.devices import Device
from tracer import decode, laod  # error: attr-defined

vmspec.load(1)  # error: arg-type
vmspec.load("a.toml", override="vm.memory=1MiB")  # error: call-arg
vmspec.load("a.toml").vm.memory = 1  # error: misc
print(vmspec.load("a.toml").vm.memroy)  # error: attr-defined
vmspec.reed("a.toml")  # error: attr-defined
runner.run("a.toml", ["vm.memory=1MiB"])  # error: call-arg
runner.run(vmspec.load("a.toml"), input="stdin")  # error: arg-type
verdict: bool = runner.run("a.toml").kind == "halted"  # error: comparison-overlap
where: Path = runner.run("a.toml").trace  # error: assignment
runner.start("a.toml").wait()  # error: attr-defined
print(tracer.load("a.arrow").tables["inputs"].rows)  # error: attr-defined
tracer.load("a.arrow").batches("reason", 1)  # error: arg-type
tracer.recover("a.arrow").rows = 1  # error: attr-defined
laod(decode.name("io", "0x3fd"))  # error: arg-type


class Wrong(Device):
    def start(self) -> None:
        self.bus.shadow(0, 0x60)  # error: call-arg, arg-type
        self.end("halted", None)  # error: arg-type

    def read(self, offset: int, size: int) -> int:  # error: override
        return 0

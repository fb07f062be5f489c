"""A device that squares a number: write it to offset 0, read the square from offset 1."""

from runner.devices import Device


class Square(Device):
    def __init__(self, limit: int = 256) -> None:
        self.limit = limit  # `options` in the spec
        self.number = 0

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self.number = value

    def read(self, region: str, offset: int, size: int) -> int:
        if offset == 1:
            return self.number**2 % self.limit
        return super().read(region, offset, size)

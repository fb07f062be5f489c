"""A virtio device for the tests of what is common to all."""

from runner.devices.state import State, bits
from runner.devices.virtio.device import VirtioDevice
from vmspec.registers import virtio as R

OWN = 1 << 5  # a feature of the device's own


class EchoState(State):
    count: int = bits(0xFFFFFFFF)


class Echo(VirtioDevice):
    """Answers with what it was sent, upper-case; its second queue holds chains until :meth:`release`."""

    number = R.CONSOLE
    queue_sizes = (8, 4)
    features = OWN
    state_class = EchoState

    def __init__(self):
        self.count = 0
        self.word = bytearray(b"config")
        self.held = []
        self.began = []
        self.ticks = 0

    def configuration(self):
        return bytes(self.word)

    def configure(self, offset, data):
        self.word[offset : offset + len(data)] = data

    def begin(self, features):
        self.began.append(features)

    def notified(self, queue):
        if queue == 0:
            super().notified(queue)
            return
        while (chain := self.host.queues[1].take()) is not None:
            self.held.append(chain)

    def release(self, data=b"late"):
        for chain in self.held:
            self.host.queues[1].put(chain, chain.write(data))
        self.held = []
        self.host.interrupt(1)

    def request(self, queue, chain):
        self.count += 1
        return chain.write(chain.read(64).upper())

    def tick(self):
        self.ticks += 1

    def reset(self):
        self.count, self.held = 0, []

    def save(self):
        return EchoState(count=self.count)

    def load(self, state):
        self.count = state.count

"""A virtio entropy device (virtio 1.2, 5.4) whose bytes are the throws of a die."""

import random

from runner.devices.virtio import Chain, VirtioDevice


class Dice(VirtioDevice):
    number = 4  # an entropy device
    queue_sizes = (8,)

    def __init__(self, seed: int) -> None:
        self.seed = seed  # `options` in the spec
        self.reset()

    def reset(self) -> None:
        self.die = random.Random(self.seed)

    def request(self, queue: int, chain: Chain) -> int:
        throws = [self.die.randint(1, 6) for _ in range(min(chain.writable, 4096))]
        return chain.write(bytes(ord("0") + throw for throw in throws))

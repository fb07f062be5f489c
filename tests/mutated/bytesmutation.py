"""Bytes changed as damage and as an attacker would change them."""

import random

NUMBERS = (0, 1, 127, 128, 255, 256, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62,
           (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip


def mutated(rng: random.Random, data: bytes, places: tuple[int, ...] = ()) -> bytes:
    """The data with one to four changes: bits, numbers, pieces cut out, put in, moved or doubled, the end cut off.
    ``places`` are offsets where much is declared; half of the changes are there."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if not changed:
            break
        at = rng.randrange(len(changed))
        if places and rng.random() < 0.5:
            at = min(rng.choice(places) + rng.choice((0, 0, 0, 1, 2, 4, 8)), len(changed) - 1)
        size = min(rng.choice((1, 2, 4, 8, 8, 16, 64, 500)), len(changed) - at)
        match rng.randrange(9):
            case 0 | 1:
                changed[at] ^= 1 << rng.randrange(8)
            case 2 | 3:
                width = rng.choice((1, 2, 4, 8))
                value = rng.choice((*NUMBERS, rng.getrandbits(64), len(data), len(data) - at))
                changed[at : at + width] = (value % (1 << 64)).to_bytes(8, "little")[:width]
            case 4:
                width = rng.choice((1, 2, 4, 8))
                value = int.from_bytes(changed[at : at + width], "little") + rng.choice((-8, -1, 1, 8, 64, 4096))
                changed[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
            case 5:
                del changed[at : at + size]
            case 6:
                changed[at:at] = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
            case 7:
                other = rng.randrange(len(changed))
                piece = changed[other : other + size]
                changed[at : at + (len(piece) if rng.random() < 0.5 else 0)] = piece
            case 8 if rng.random() < 0.5:
                del changed[at:]
    return bytes(changed)

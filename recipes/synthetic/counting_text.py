"""Synthetic text for language models: lines that count things.

    three hens, four hens, five hens.
    six goats, seven goats.

The thing, the first number and the count of each line are drawn uniformly at random. Everything else is determined by
them. So the next characters depend on words further back than n-grams of a few characters reach, and `entropy` is
the lowest loss that any model can reach.
"""

import math
import random

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
THINGS = ["hens", "cats", "goats", "mules", "ducks", "foxes", "pigs", "lambs", "boats", "rings", "plums", "keys"]
STARTS = range(5)  # from one to five
COUNTS = range(2, 6)


def line(things: str, start: int, count: int) -> str:
    """A line that counts things: `count` numbers from index `start` of `NUMBERS` on."""
    return ", ".join(f"{number} {things}" for number in NUMBERS[start : start + count]) + ".\n"


def text(size: int = 5_000, seed: int | str = 0) -> str:
    """Generates `size` lines."""
    draw = random.Random(seed)
    return "".join(line(draw.choice(THINGS), draw.choice(STARTS), draw.choice(COUNTS)) for _ in range(size))


def entropy() -> float:
    """The lowest possible loss in nats per character: the entropy of a line over its mean length."""
    lines = [line(things, start, count) for things in THINGS for start in STARTS for count in COUNTS]
    return math.log(len(lines)) * len(lines) / sum(map(len, lines))

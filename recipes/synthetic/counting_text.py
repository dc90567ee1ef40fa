"""A text without a download, for language models: things are counted.

    three hens, four hens, five hens.
    six goats, seven goats.

What is counted, from which number on and how far is drawn by chance, each alike often; all else follows. So what is to
come depends on the words before, further back than counts of a few characters reach, and the best loss that any model
can reach is known.
"""

import math
import random

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
THINGS = ["hens", "cats", "goats", "mules", "ducks", "foxes", "pigs", "lambs", "boats", "rings", "plums", "keys"]
STARTS = range(5)  # from one to five
COUNTS = range(2, 6)


def line(things: str, start: int, count: int) -> str:
    """So many numbers of things, from that number on."""
    return ", ".join(f"{number} {things}" for number in NUMBERS[start : start + count]) + ".\n"


def text(size: int = 5_000, seed: int | str = 0) -> str:
    """So many lines."""
    draw = random.Random(seed)
    return "".join(line(draw.choice(THINGS), draw.choice(STARTS), draw.choice(COUNTS)) for _ in range(size))


def entropy() -> float:
    """The least loss in nats per character: that of the draws, over the mean length of a line."""
    lines = [line(things, start, count) for things in THINGS for start in STARTS for count in COUNTS]
    return math.log(len(lines)) * len(lines) / sum(map(len, lines))

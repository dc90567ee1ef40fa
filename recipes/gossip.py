"""A text without a download, for language models: what one says of themselves, the other says of them.

    ROSA:
    I keep seven black hens.

    HUGO:
    Rosa keeps seven black hens.

Who speaks, how many, which colour and which animal are drawn by chance, each alike often; the reply is not, but for
its speaker. So its first half must be remembered to foretell the second, over forty characters, and the best loss that
any model can reach is known.
"""

import math
import random

NAMES = ["Rosa", "Hugo", "Ines", "Karl", "Mina", "Otto", "Vera", "Yuri"]
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine"]
COLOURS = ["black", "white", "red", "brown", "grey", "golden", "spotted", "striped"]
ANIMALS = ["hens", "cats", "goats", "mules", "ducks", "foxes", "pigs", "lambs"]
TURN = "{first}:\nI keep {herd}.\n\n{second}:\n{name} keeps {herd}.\n\n"


def exchange(draw: random.Random) -> str:
    """Something said, and the reply."""
    first, second = draw.sample(NAMES, 2)
    herd = " ".join(draw.choice(words) for words in (NUMBERS, COLOURS, ANIMALS))
    return TURN.format(first=first.upper(), second=second.upper(), name=first, herd=herd)


def entropy() -> float:
    """The least loss in nats per character: that of the draws, over the mean length."""
    choices = len(NAMES) * (len(NAMES) - 1) * len(NUMBERS) * len(COLOURS) * len(ANIMALS)
    name, *herd = (sum(map(len, words)) / len(words) for words in (NAMES, NUMBERS, COLOURS, ANIMALS))
    fixed = len(TURN.format(first="", second="", name="", herd=""))
    return math.log(choices) / (fixed + 3 * name + 2 * (sum(herd) + 2))


def text(size: int = 4_000, seed: int | str = 0) -> str:
    """So many exchanges, one after the other."""
    draw = random.Random(seed)
    return "".join(exchange(draw) for _ in range(size))

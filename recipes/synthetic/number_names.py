"""Synthetic translation: English number names to French ones.

    four hundred and seventy-one thousand two hundred and six
    quatre cent soixante et onze mille deux cent six

It is a small but real language pair: seventy is "soixante-dix", the thousands are counted, and 71 and 81 do not follow
the same rule.
"""

from __future__ import annotations

import random

from keras_seq.lazy import data

MAX_DIGITS = 6
HELD_OUT = 0.1  # share of the numbers of each length, for validation and for test each


def name(number: int, language: str) -> str:
    """The number in words, without commas."""
    from num2words import num2words

    return num2words(number, lang=language).replace(",", "")


def split_numbers(size: int, held_out_size: int, seed: int) -> dict[str, list[int]]:
    """Numbers for "train", "valid" and "test", no number in two of them.

    In training, numbers of one to six digits are equally frequent, so the few short numbers are repeated. Validation
    and test have each number once, so most of their numbers are long.
    """
    draw = random.Random(seed)
    train_pools, held_out_pools = [], {"valid": [], "test": []}
    for digits in range(1, MAX_DIGITS + 1):
        numbers = list(range(10 ** (digits - 1) if digits > 1 else 0, 10**digits))
        draw.shuffle(numbers)
        held_out = max(1, min(int(HELD_OUT * len(numbers)), held_out_size))
        held_out_pools["valid"].append(numbers[:held_out])
        held_out_pools["test"].append(numbers[held_out : 2 * held_out])
        train_pools.append(numbers[2 * held_out :])
    train = [draw.choice(draw.choice(train_pools)) for _ in range(size)]
    return {"train": train, **{part: _alike(pools, held_out_size) for part, pools in held_out_pools.items()}}


def _alike(pools: list[list[int]], size: int) -> list[int]:
    """`size` numbers, from each pool in turn until the pool is empty."""
    rounds = [number for depth in range(max(map(len, pools))) for number in (p[depth] for p in pools if depth < len(p))]
    return rounds[:size]


def parallel_text(size: int = 24_000, held_out_size: int = 1_000, seed: int = 0) -> dict[str, data.ParallelText]:
    """English and French names of the numbers of `split_numbers`."""
    parts = {}
    for part, numbers in split_numbers(size, held_out_size, seed).items():
        sources, targets = ([name(number, language) for number in numbers] for language in ("en", "fr"))
        parts[part] = data.ParallelText(sources, targets, data.ParallelReport(len(numbers), len(numbers)))
    return parts

"""The generated text: what it is, and what it costs a model that knows all about it."""

import collections
import math

import pytest

from recipes.synthetic import counting_text


def test_each_line_counts_one_thing_upwards():
    text = counting_text.text(300, seed=1)
    assert len(text.splitlines()) == 300 and text.endswith(".\n")
    for line in text.splitlines():
        numbers, things = zip(*(each.split() for each in line.removesuffix(".").split(", ")), strict=True)
        places = [counting_text.NUMBERS.index(number) for number in numbers]
        assert len(set(things)) == 1 and places == list(range(places[0], places[-1] + 1)) and 2 <= len(places) <= 5
    assert counting_text.line("hens", 2, 3) == "three hens, four hens, five hens.\n"
    assert counting_text.text(300, seed=1) == text != counting_text.text(300, seed=2)


def test_the_least_loss_is_that_of_the_draws():
    lines = counting_text.text(50_000, seed=3).splitlines()
    counts = collections.Counter(lines)
    nats = -sum(count * math.log(count / len(lines)) for count in counts.values())
    characters = sum(len(line) + 1 for line in lines)
    assert counting_text.entropy() == pytest.approx(nats / characters, rel=0.01)

"""The generated exchanges: what they are, and what they cost a model that knows all about them."""

import collections
import math
import re

import pytest

from recipes import gossip


def test_the_reply_repeats_what_was_said():
    text = gossip.text(200, seed=1)
    turns = re.findall(r"([A-Z]+):\nI keep (.+)\.\n\n([A-Z]+):\n([A-Z][a-z]+) keeps (.+)\.\n\n", text)
    assert len(turns) == 200
    for first, herd, second, name, again in turns:
        assert name.upper() == first != second and herd == again
    assert {len(set(column)) for column in zip(*turns, strict=True)} >= {8}
    assert gossip.text(200, seed=1) == text != gossip.text(200, seed=2)


def test_the_least_loss_is_that_of_the_draws():
    text = gossip.text(5_000, seed=3)
    turns = re.findall(r"([A-Z]+):\nI keep (\w+) (\w+) (\w+)\.\n\n([A-Z]+):", text)
    pairs = collections.Counter((first, second) for first, *_, second in turns)
    nats = -sum(count * math.log(count / 5_000) for count in pairs.values())
    for column in (1, 2, 3):
        counts = collections.Counter(turn[column] for turn in turns)
        nats -= sum(count * math.log(count / 5_000) for count in counts.values())
    assert gossip.entropy() == pytest.approx(nats / len(text), rel=0.01)

"""Synthetic sentiment: sentences whose label depends on the order of their words.

    the plot was not dull , but the ending was never good .            negative
    the ending was never good , although the plot was not dull .       negative
    although the plot was never good , the ending was not dull .       positive

Each sentence has a positive and a negative clause. The clause after "but", or the one without "although", determines
the label. A negation inverts a word. So the words without their order carry no information: every bag of words is as
often positive as negative.
"""

from __future__ import annotations

import random

from keras_seq.lazy import data

LABELS = ("negative", "positive")
NOUNS = ["plot", "ending", "acting", "music", "dialogue", "camera", "cast", "story", "pace", "humour"]
WORDS = {  # by label
    "negative": ["dull", "bad", "clumsy", "boring", "weak", "flat", "tedious", "stale"],
    "positive": ["good", "fresh", "moving", "funny", "clever", "bold", "touching", "strong"],
}
NEGATIONS = ("not", "never", "hardly")
SHAPES = ("{conceded} , but {meant} .", "although {conceded} , {meant} .", "{meant} , although {conceded} .")


def sentence(mood: str, draw: random.Random) -> str:
    """A random sentence with the label `mood`."""
    other = LABELS[1 - LABELS.index(mood)]
    first, second = draw.sample(NOUNS, 2)
    return draw.choice(SHAPES).format(meant=_clause(first, mood, draw), conceded=_clause(second, other, draw))


def _clause(noun: str, mood: str, draw: random.Random) -> str:
    if draw.random() < 0.5:
        return f"the {noun} was {draw.choice(WORDS[mood])}"
    opposite = LABELS[1 - LABELS.index(mood)]
    return f"the {noun} was {draw.choice(NEGATIONS)} {draw.choice(WORDS[opposite])}"


def order_pairs(count: int = 200, seed: int = 0) -> list[tuple[str, str]]:
    """Pairs of a negative and a positive sentence that have the same words in another order."""
    draw, pairs = random.Random(seed), {}
    while len(pairs) < count:
        first, second = draw.sample(NOUNS, 2)
        clauses = _clause(first, "negative", draw), _clause(second, "positive", draw)
        shape = draw.choice(SHAPES)
        negative = shape.format(meant=clauses[0], conceded=clauses[1])
        pairs[negative] = shape.format(meant=clauses[1], conceded=clauses[0])
    return list(pairs.items())


def labeled_text(size: int = 4_000, held_out_size: int = 500, seed: int = 0) -> dict[str, data.LabeledText]:
    """Sentences for "train", "valid" and "test", with both labels equally often and no sentence twice."""
    draw, seen, parts = random.Random(seed), set(), {}
    for part, count in {"train": size, "valid": held_out_size, "test": held_out_size}.items():
        texts = []
        while len(texts) < count:
            text = sentence(LABELS[len(texts) % 2], draw)
            if text not in seen:
                seen.add(text)
                texts.append(text)
        labels = [number % 2 for number in range(count)]
        parts[part] = data.LabeledText(texts, labels, LABELS, data.LabeledReport(count, count))
    return parts

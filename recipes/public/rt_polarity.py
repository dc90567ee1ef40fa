"""The sentence polarity data of Pang and Lee in its original format: a sentence a line, a file for each label."""

from __future__ import annotations

import pathlib

import numpy as np

from keras_seq.lazy import data

FILES = {"negative": "rt-polarity.neg", "positive": "rt-polarity.pos"}


def labeled_text(folder: pathlib.Path, seed: int) -> dict[str, data.LabeledText]:
    """Reads a tenth of each label for "test" and the rest for "train", both in random order.

    There is no standard split: papers report the mean of ten folds of all sentences.
    """
    texts, labels = [], []
    for label, name in enumerate(FILES.values()):
        sentences = data.read_text(folder / name, documents="line").documents
        texts, labels = texts + sentences, labels + [label] * len(sentences)
    whole = data.LabeledText(texts, labels, tuple(FILES), data.LabeledReport(len(texts), len(texts)))
    order = np.random.default_rng(seed).permutation(len(whole))
    fold = data.folds(labels, 10, seed)[order]
    return {"train": whole.select(order[fold > 0]), "test": whole.select(order[fold == 0])}

"""The sentence polarity data as Pang and Lee published it: a sentence a line, a file for each label."""

from __future__ import annotations

import pathlib

import numpy as np

from keras_seq.lazy import data

FILES = {"negative": "rt-polarity.neg", "positive": "rt-polarity.pos"}


def labeled_text(folder: pathlib.Path, seed: int) -> dict[str, data.LabeledText]:
    """A tenth of each label for "test", the others for "train", both in an order drawn by chance.

    There is no split that everybody uses: papers report the mean of ten folds of all.
    """
    texts, labels = [], []
    for label, name in enumerate(FILES.values()):
        found = data.read_text(folder / name, documents="line").documents
        texts, labels = texts + found, labels + [label] * len(found)
    whole = data.LabeledText(texts, labels, tuple(FILES), data.LabeledReport(len(texts), len(texts)))
    order = np.random.default_rng(seed).permutation(len(whole))
    fold = data.folds(labels, 10, seed)[order]
    return {"train": whole.select(order[fold > 0]), "test": whole.select(order[fold == 0])}

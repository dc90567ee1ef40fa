"""Section 3.6, figure 3: BLEU by the length of the sentences, and by how rare their words are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_seq.inspection import plots

from .finding import AGREES, DIFFERS, PARTLY, Finding
from .members import Member, members
from .systems import Systems

GROUPS = 6
KEPT = 0.9  # share of the whole text's BLEU that the longest sentences keep, to count as flat


def needed(options: Any) -> list[Member]:
    return [*members("reversed", 5), Member("forward", 1), Member("attention", 1)]


def check_lengths(systems: Systems) -> Finding:
    lengths = np.array([len(text.split()) for text in systems.test.sources])
    shares, rows, groups = _by_group(systems, lengths, "lengths.png", "BLEU by length", "words of the source", str)
    ensemble = next(iter(shares.values()))
    longest, whole = ensemble[-1], systems.bleu(systems.trained(members("reversed", 5)), systems.options.num_beams)
    return Finding(
        "lengths",
        "Long sentences",
        "BLEU does not fall for sentences with less than 35 words, and little for the longest ones (figure 3, left).",
        ("words of the source", "sentences", *shares),
        rows,
        AGREES if longest >= KEPT * whole else DIFFERS,
        f"With the ensemble the longest sentences, of {groups[-1]} words, have {longest:.2f} BLEU, and the whole text "
        f"has {whole:.2f}.",
        "lengths.png",
    )


def check_ranks(systems: Systems) -> Finding:
    task = systems.task(Member("reversed", 1))
    # The vocabulary is sorted by frequency. An unknown word has the rank after the last one.
    unknown, size = task.source_vocabulary.unknown_id, task.source_vocabulary.size
    ids = task.source_vocabulary.tokenize(systems.test.sources)
    ranks = np.array([np.mean([size if i == unknown else i for i in row]) for row in ids.to_list()])
    shown = "mean frequency rank of the source words"
    shares, rows, _ = _by_group(systems, ranks, "ranks.png", "BLEU by rarity", shown, lambda value: f"{value:.0f}")
    ensemble = next(iter(shares.values()))
    return Finding(
        "ranks",
        "Rare words",
        "BLEU falls on sentences with rarer words (figure 3, right).",
        (shown, "sentences", *shares),
        rows,
        (AGREES if ensemble[0] == max(ensemble) else PARTLY) if ensemble[-1] < ensemble[0] else DIFFERS,
        f"From the most frequent to the rarest words, BLEU of the ensemble goes from {ensemble[0]:.2f} to "
        f"{ensemble[-1]:.2f}. A word outside of the vocabulary counts as the rarest.",
        "ranks.png",
    )


def _by_group(
    systems: Systems, values: np.ndarray, plot: str, title: str, x_label: str, write: Callable[[Any], str]
) -> tuple[dict[str, list[float]], list[tuple[str, ...]], list[str]]:
    """BLEU of systems on groups of equally many sentences, rows of a table, and the names of the groups."""
    beam, ensemble = systems.options.num_beams, systems.trained(members("reversed", 5))
    translations = {
        f"ensemble of {len(ensemble)}": systems.translations(ensemble, beam),
        "reversed": systems.translations([Member("reversed", 1)], beam),
        "forward": systems.translations([Member("forward", 1)], beam),
        "attention": systems.translations([Member("attention", 1)], beam),
    }
    groups = [np.array(group) for group in _equal_groups(values)]
    scores = {name: [_bleu_of(systems, texts, rows) for rows in groups] for name, texts in translations.items()}
    names = [f"{write(values[rows].min())} to {write(values[rows].max())}" for rows in groups]
    plots.compared_curves(
        {name: ([float(values[rows].mean()) for rows in groups], each) for name, each in scores.items()},
        systems.folder / "plots" / plot,
        title=title,
        x_label=x_label,
        y_label="BLEU",
    )
    rows = [
        (name, str(len(group)), *(f"{each[number]:.2f}" for each in scores.values()))
        for number, (name, group) in enumerate(zip(names, groups, strict=True))
    ]
    return scores, rows, names


def _equal_groups(values: np.ndarray) -> list[list[int]]:
    """The places of the values in rising order, in `GROUPS` groups of about equal size. Equal values stay together."""
    smaller = np.searchsorted(np.sort(values), values, side="left")  # number of smaller values
    number = GROUPS * smaller // len(values)
    return [np.flatnonzero(number == each).tolist() for each in np.unique(number)]


def _bleu_of(systems: Systems, texts: Sequence[str], rows: np.ndarray) -> float:
    from keras_seq import scores

    return scores.bleu([texts[row] for row in rows], [systems.test.targets[row] for row in rows], "none").value

"""Section 3.7, table 2: rescoring the n-best lists of another system."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_seq import decoding
from keras_seq.inspection import plots

from .finding import AGREES, DIFFERS, PARTLY, Finding
from .members import Member, members
from .systems import Systems, significance

OTHER = Member("attention", 1)  # stands for the phrase-based system of the paper
LIST = 12


def needed(options: Any) -> list[Member]:
    return [OTHER, Member("forward", 1), *members("reversed", 5)]


def check(systems: Systems) -> Finding:
    lists = systems.candidates([OTHER], LIST, LIST)
    texts = [row for row, _ in lists]
    own = np.full((len(lists), LIST), np.nan)
    for place, (_, log_probs) in zip(own, lists, strict=True):
        place[: len(log_probs)] = log_probs
    ensemble = systems.trained(members("reversed", 5))
    best = f"ensemble of {len(ensemble)} reversed LSTMs"
    with_rescoring = {"one forward LSTM": [Member("forward", 1)], "one reversed LSTM": ensemble[:1], best: ensemble}

    chosen = {"first of the list": [row[0] for row in texts]}
    for name, models in with_rescoring.items():
        ours = systems.log_probs(models, f"{'-'.join(OTHER.folder.parts)}-beam-{LIST}", texts)
        order, _ = decoding.rerank({"own": own, "LSTM": ours})  # the average of the two scores
        chosen[name] = [row[first] for row, first in zip(texts, order[:, 0], strict=True)]
    bleus = {name: systems.score(each) for name, each in chosen.items()}
    bleus["best of each list"] = systems.score(_oracle(texts, systems.test.targets))
    p_value = significance(chosen["first of the list"], chosen[best], systems.test.targets)
    gain = bleus[best] - bleus["first of the list"]
    plots.compared_bars(
        bleus,
        systems.folder / "plots" / "rescoring.png",
        title=f"Rescored lists of {LIST} translations",
        label="BLEU",
        shown={name: f"{value:.2f}" for name, value in bleus.items()},
    )
    return Finding(
        "rescoring",
        "Rescored n-best lists of another system",
        "The lists of 1000 of a phrase-based system have 33.30. Rescored by one forward LSTM they have 35.61, by one "
        "reversed LSTM 35.85, by an ensemble of 5 36.5. The best of each list has about 45 (table 2).",
        (f"{LIST} translations by {OTHER}", "BLEU"),
        [(name, f"{value:.2f}") for name, value in bleus.items()],
        (AGREES if p_value < 0.05 else PARTLY) if gain > 0 else DIFFERS,
        f"The score is the average of the two log-probabilities. The ensemble gains {gain:+.2f} BLEU (paired "
        f"bootstrap: p = {p_value:.3f}).",
        "rescoring.png",
    )


def _oracle(lists: list[list[str]], references: list[str]) -> list[str]:
    """The translation of each list with the best BLEU of its sentence."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize="none", force=True, effective_order=True)
    return [
        max(row, key=lambda text: metric.sentence_score(text, [reference]).score)
        for row, reference in zip(lists, references, strict=True)
    ]

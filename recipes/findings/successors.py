"""What came after the paper: attention, and the Transformer."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_seq.inspection import plots

from .finding import AGREES, DIFFERS, Finding
from .members import Member, members
from .systems import Systems, mean_and_spread

COMPARED = ("reversed", "attention", "transformer")


def needed(options: Any) -> list[Member]:
    return [member for variant in COMPARED for member in members(variant, options.seeds)]


def check(systems: Systems) -> Finding:
    options, rows, bleus = systems.options, [], {}
    for variant in COMPARED:
        own = systems.trained(members(variant, options.seeds))
        perplexities = [systems.perplexity(member) for member in own]
        bleus[variant] = [systems.bleu([member], options.num_beams) for member in own]
        parameters = systems.record(own[0]).parameters
        seconds = np.mean([systems.record(member).seconds for member in own])
        scores = (mean_and_spread(perplexities), mean_and_spread(bleus[variant]))
        rows.append((variant, f"{parameters:,}", f"{seconds:,.0f}", *scores))
    plots.score_ranges(
        bleus,
        systems.folder / "plots" / "successors.png",
        title="Attention and the Transformer",
        label=f"BLEU, beam {options.num_beams}: each seed, mean and spread",
    )
    gains = [np.mean(bleus[variant]) - np.mean(bleus["reversed"]) for variant in COMPARED[1:]]
    return Finding(
        "successors",
        "Attention and the Transformer",
        "Not in the paper. Bahdanau et al. 2015 hold that a vector of fixed size limits long sentences.",
        ("", "parameters", "seconds of training", "perplexity", f"BLEU, beam {options.num_beams}"),
        rows,
        AGREES if min(gains) > 0 else DIFFERS,
        f"Attention changes BLEU by {gains[0]:+.2f}, the Transformer by {gains[1]:+.2f}.",
        "successors.png",
    )

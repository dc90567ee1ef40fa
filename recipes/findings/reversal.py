"""Section 3.3: reversing the source sentences."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_seq.inspection import plots

from .finding import AGREES, DIFFERS, PARTLY, Finding
from .members import Member, members
from .systems import Systems, mean_and_spread, significance

SIGNIFICANT = 0.05


def needed(options: Any) -> list[Member]:
    return [*members("reversed", options.seeds), *members("forward", options.seeds)]


def check(systems: Systems) -> Finding:
    options, rows = systems.options, []
    perplexities, bleus = {}, {}
    for variant in ("forward", "reversed"):
        own = systems.trained(members(variant, options.seeds))
        perplexities[variant] = [systems.perplexity(member) for member in own]
        bleus[variant] = [systems.bleu([member], options.num_beams) for member in own]
        cells = (mean_and_spread(perplexities[variant]), mean_and_spread(bleus[variant]))
        rows.append((f"{variant} source", *cells))
    p_values = []
    for seed in range(1, options.seeds + 1):
        pair = [systems.translations([Member(variant, seed)], options.num_beams) for variant in bleus]
        p_values.append(significance(*pair, systems.test.targets))

    better = [
        np.mean(perplexities["reversed"]) < np.mean(perplexities["forward"]),
        np.mean(bleus["reversed"]) > np.mean(bleus["forward"]) and max(p_values) < SIGNIFICANT,
    ]
    plots.score_ranges(
        bleus,
        systems.folder / "plots" / "reversal.png",
        title="Reversed source sentences",
        label=f"BLEU, beam {options.num_beams}: each seed, mean and spread",
    )
    seeds = "seed" if len(p_values) == 1 else f"each of {len(p_values)} seeds"
    return Finding(
        "reversal",
        "Reversed source sentences",
        "Reversing took the test perplexity from 5.8 to 4.7, and BLEU from 25.9 to 30.6 (section 3.3).",
        ("", "perplexity", f"BLEU, beam {options.num_beams}"),
        rows,
        AGREES if all(better) else PARTLY if any(better) else DIFFERS,
        f"Paired bootstrap of BLEU, {seeds}: p = {', '.join(f'{p:.3f}' for p in p_values)}.",
        "reversal.png",
    )

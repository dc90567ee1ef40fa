"""Section 3.4: the number of layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_seq.inspection import plots

from .finding import AGREES, DIFFERS, PARTLY, Finding
from .members import Member, members
from .systems import Systems, mean_and_spread

DEPTHS = (1, 2, 3, 4)


def of_depth(options: Any, depth: int) -> list[Member]:
    """The members with a number of layers, which may be that of the other findings."""
    plural = "" if depth == 1 else "s"
    return members("reversed" if depth == options.num_layers else f"{depth} layer{plural}", options.seeds)


def needed(options: Any) -> list[Member]:
    return [member for depth in DEPTHS for member in of_depth(options, depth)]


def check(systems: Systems) -> Finding:
    options, rows = systems.options, []
    perplexities = {}
    for depth in DEPTHS:
        own = systems.trained(of_depth(options, depth))
        perplexities[depth] = [systems.perplexity(member) for member in own]
        bleu = mean_and_spread([systems.bleu([member], options.num_beams) for member in own])
        before = np.mean(perplexities[depth - 1]) if depth > 1 else None
        change = "" if before is None else f"{np.mean(perplexities[depth]) / before - 1:+.1%}"
        rows.append((str(depth), mean_and_spread(perplexities[depth]), change, bleu))
    means = [float(np.mean(perplexities[depth])) for depth in DEPTHS]
    changes = [after / before - 1 for before, after in zip(means, means[1:], strict=False)]
    best = DEPTHS[int(np.argmin(means))]
    plots.score_ranges(
        {f"{depth} layer{'s' * (depth > 1)}": values for depth, values in perplexities.items()},
        systems.folder / "plots" / "depth.png",
        title="Perplexity by the number of layers",
        label="test perplexity: each seed, mean and spread",
    )
    return Finding(
        "depth",
        "Number of layers",
        "Each additional layer reduced perplexity by nearly 10% (section 3.4).",
        ("layers", "perplexity", "change", f"BLEU, beam {options.num_beams}"),
        rows,
        AGREES if max(changes) < 0 else PARTLY if min(changes) < 0 else DIFFERS,
        f"The best of {len(DEPTHS)} depths is {best}. An added layer changes the perplexity by "
        f"{', '.join(f'{change:+.1%}' for change in changes)}. All have {options.units} units.",
        "depth.png",
    )

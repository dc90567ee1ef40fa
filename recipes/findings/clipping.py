"""Section 3.4: the limit on the norm of the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_seq import training
from keras_seq.inspection import plots

from .finding import AGREES, DIFFERS, Finding
from .members import Member, members
from .systems import Systems, mean_and_spread

WORSE = 1.05  # factor of the perplexity that counts as a failure


def needed(options: Any) -> list[Member]:
    return [*members("reversed", options.seeds), *members("unclipped", options.seeds)]


def check(systems: Systems) -> Finding:
    rows, curves, perplexities, failures = [], {}, {}, 0
    for variant, name in (("reversed", "with the limit"), ("unclipped", "without it")):
        own = members(variant, systems.options.seeds)
        done = systems.trained(own)
        perplexities[variant] = [systems.perplexity(member) for member in done]
        largest = [_largest_norms(systems, member) for member in own]
        curves[name] = (list(range(1, len(largest[0]) + 1)), largest[0])
        peak = max(max(norms, default=np.nan) for norms in largest)
        ended = f"{len(done)} of {len(own)}"
        rows.append((name, f"{peak:.3g}", ended, mean_and_spread(perplexities[variant])))
        failures += len(own) - len(done)
    plots.compared_curves(
        {name: curve for name, curve in curves.items() if curve[0]},
        systems.folder / "plots" / "clipping.png",
        title="Largest norm of the gradient",
        x_label="half epoch",
        y_label="norm",
        from_zero=True,
    )
    means = {variant: np.mean(values) if values else np.inf for variant, values in perplexities.items()}
    worse = bool(failures) or means["unclipped"] > WORSE * means["reversed"]
    return Finding(
        "clipping",
        "Limit on the norm of the gradient",
        "LSTMs can have exploding gradients, so the norm of the gradient is limited to 5 (section 3.4).",
        ("", "largest norm", "trained to the end", "perplexity"),
        rows,
        AGREES if worse else DIFFERS,
        f"The limit is {systems.options.clipnorm:g}. The norms are those before it is applied.",
        "clipping.png",
    )


def _largest_norms(systems: Systems, member: Member) -> list[float]:
    """The largest norm of the gradient in each half epoch."""
    rows = training.read_history(systems.folder / member.folder / "history.csv")
    return [row.get("largest_gradient_norm", float("nan")) for row in rows]

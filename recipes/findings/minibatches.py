"""Section 3.4: minibatches of sentences that have about the same length."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

from keras_seq import data
from keras_seq.inspection import plots

from .finding import AGREES, DIFFERS, Finding
from .members import Member, timed
from .systems import Systems

EXAMPLES, ROUNDS = 12_800, 3
BATCH_SIZE = 128  # that of the paper
WIDTHS = {"random": 0, "of about the same length": 4}
SPEEDUP, TOLERANCE = 2.0, 0.1


def needed(options: Any) -> list[Member]:
    return []


def check(systems: Systems) -> Finding:
    found = systems.kept("minibatches", lambda: measure(systems.options, systems.parts["train"]))
    seconds = {name: each["seconds"] for name, each in found.items()}
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    ratios = [one / other for one, other in zip(*seconds.values(), strict=True)]
    speedup = statistics.median(ratios)
    plots.compared_bars(
        medians,
        systems.folder / "plots" / "minibatches.png",
        title=f"Time of {EXAMPLES:,} sentences",
        label="seconds of processor time",
        shown={name: f"{value:.1f} s" for name, value in medians.items()},
    )
    return Finding(
        "minibatches",
        "Minibatches of sentences of about the same length",
        "A 2x speedup (section 3.4).",
        (f"minibatches of {BATCH_SIZE}", "processor seconds", "padding"),
        [(name, f"{medians[name]:.1f}", f"{found[name]['padding']:.0%}") for name in medians],
        AGREES if speedup >= SPEEDUP * (1 - TOLERANCE) else DIFFERS,
        f"{speedup:.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds).",
        "minibatches.png",
    )


def measure(options: Any, train: data.ParallelText) -> dict[str, dict[str, Any]]:
    """Processor seconds of training on some sentences, in each round, and the share of padding."""
    from .. import sutskever2014 as recipe

    some = data.ParallelText(train.sources[:EXAMPLES], train.targets[:EXAMPLES], train.report)
    words, model = timed(options, train)
    found, sets = {}, {}
    for name, width in WIDTHS.items():
        how = dataclasses.replace(options, bucket_width=width, batch_size=BATCH_SIZE)
        sets[name] = recipe.batched(how, some, *words, shuffle=True)[1]
        pairs = some.dataset().apply(words[0].encoded(words[1]))
        padding = data.plan_batches(data.lengths(pairs), **recipe.batch_shape(how, data.lengths(pairs))).padding
        found[name] = {"seconds": [], "padding": padding}
        model.fit(sets[name].take(2), verbose=0)  # traces
    for _ in range(ROUNDS):
        for name, batches in sets.items():
            start = time.process_time()
            model.fit(batches, verbose=0)
            found[name]["seconds"].append(time.process_time() - start)
    return found

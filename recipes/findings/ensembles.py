"""Section 3.6, table 1: beams and ensembles."""

from __future__ import annotations

from typing import Any

from keras_seq.inspection import plots

from .finding import AGREES, DIFFERS, PARTLY, Finding
from .members import Member, members
from .systems import Systems, mean_and_spread

SIZES, BEAMS = (1, 2, 5), (1, 2, 12)
GAIN = 1.5  # BLEU by which five models beat one


def needed(options: Any) -> list[Member]:
    return members("reversed", max(SIZES))


def check(systems: Systems) -> Finding:
    own = systems.trained(members("reversed", max(SIZES)))
    rows, found = [], {}
    for size in SIZES:
        if size == 1:
            scores = [[systems.bleu([member], beam) for member in own] for beam in BEAMS]
        else:
            scores = [[systems.bleu(own[:size], beam)] for beam in BEAMS]
        found[size] = [sum(each) / len(each) for each in scores]
        name = f"single, mean of {len(own)}" if size == 1 else f"ensemble of {size}"
        rows.append((name, *map(mean_and_spread, scores)))
    gain, beams = found[5][-1] - found[1][-1], [scores[-1] - scores[0] for scores in found.values()]
    plots.compared_curves(
        {("single" if size == 1 else f"ensemble of {size}"): (BEAMS, scores) for size, scores in found.items()},
        systems.folder / "plots" / "ensembles.png",
        title="Beams and ensembles",
        x_label="beam width",
        y_label="BLEU",
        log_x=True,
        ticks={beam: str(beam) for beam in BEAMS},
    )
    right = [gain >= GAIN, min(beams) > 0]
    return Finding(
        "ensembles",
        "Beams and ensembles",
        "With a beam of 12, one model has 30.59 BLEU, an ensemble of 2 has 33.27, of 5 34.81. The ensemble of 5 has "
        "33.00 with a beam of 1, and 34.50 with a beam of 2 (table 1).",
        ("", *(f"beam {beam}" for beam in BEAMS)),
        rows,
        AGREES if all(right) else PARTLY if any(right) else DIFFERS,
        f"With a beam of 12 five models gain {gain:+.2f} BLEU over one. A beam of 12 in place of 1 gains "
        f"{', '.join(f'{each:+.2f}' for each in beams)} for 1, 2 and 5 models.",
        "ensembles.png",
    )

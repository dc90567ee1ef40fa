"""Stops a trial early that does worse than half of the others did with the same number of tokens."""

import dataclasses
import statistics
from collections.abc import Iterable, Sequence

from keras_seq.tuning.records import Round, TrialRecord


@dataclasses.dataclass(frozen=True)
class MedianRule:
    """Stops a trial whose best score so far is worse than the median of the best scores of the others so far.

    Args:
        warmup_rounds: rounds after which no trial is stopped.
        least_trials: number of other trials that must have finished the same round.
    Source: Golovin et al. 2017, section 3.2.2, doi:10.1145/3097983.3098043, with the best score in place of the mean.
    """

    warmup_rounds: int = 0
    least_trials: int = 4

    def reason(self, rounds: Sequence[Round], others: Iterable[TrialRecord], mode: str) -> str:
        """The reason to stop the trial after these rounds, or "" if there is none.

        Args:
            rounds: rounds of the trial.
            others: the other trials. Those that run, failed or are invalid do not count.
            mode: "max" if a larger score is better, "min" if a smaller one is.
        """
        count = len(rounds)
        reached = [
            best_score(trial.rounds[:count], mode) for trial in others if trial.has_score and len(trial.rounds) >= count
        ]
        if count <= self.warmup_rounds or len(reached) < self.least_trials:
            return ""
        ours, median = best_score(rounds, mode), statistics.median(reached)
        if ours < median if mode == "max" else ours > median:
            return f"{ours:.4g} after round {count}, where the median of {len(reached)} other trials was {median:.4g}"
        return ""


def best_score(rounds: Iterable[Round], mode: str) -> float:
    """The best score of the rounds."""
    return (max if mode == "max" else min)(each.score for each in rounds)

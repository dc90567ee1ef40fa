"""The record of a trial, `trial.json`, and the table of all trials of a search."""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from keras_seq.training import atomic_write

FILE = "trial.json"
Status = Literal["running", "completed", "stopped", "failed", "invalid"]


@dataclasses.dataclass(frozen=True)
class Round:
    """A round of a trial: the training from one validation to the next.

    Args:
        number: number of the round, from 1.
        tokens: target tokens that the trial had trained on at its end (frames, rows or examples where there are none).
        seconds: seconds that the trial had taken at its end.
        score: the objective at its end. NaN if it was not finite.
    """

    number: int
    tokens: int
    seconds: float
    score: float


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """A trial: its values, its score, and its cost.

    Args:
        trial: name of the trial, such as "0007". Trials are numbered in the order in which they were made.
        status: "running"; "completed", after its whole budget; "stopped" early by the median rule; "failed", if its
            loss diverged or an error ended it; "invalid", if no model can have these values.
        values: values of the parameters that are active in this trial, by name.
        score: best objective of all rounds. None for a trial that failed or has no round yet.
        reason: why the trial was stopped, failed or is invalid.
        rounds: rounds, in order.
        unit: unit of the tokens: "tokens" or "examples".
        parameters: number of weights of the model.
        seed: random seed.
        worker: name of the process that ran it.
    """

    trial: str
    status: Status
    values: dict[str, Any]
    score: float | None = None
    reason: str = ""
    rounds: tuple[Round, ...] = ()
    unit: str = "tokens"
    parameters: int | None = None
    seed: int = 0
    worker: str = ""

    @property
    def tokens(self) -> int:
        """The tokens that the trial has trained on, up to its last round."""
        return self.rounds[-1].tokens if self.rounds else 0

    @property
    def seconds(self) -> float:
        return self.rounds[-1].seconds if self.rounds else 0.0

    @property
    def has_score(self) -> bool:
        """Whether the trial takes part in the choice of the best."""
        return self.status in ("completed", "stopped") and self.score is not None and math.isfinite(self.score)

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `trial.json` into the folder of the trial."""
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        with atomic_write(pathlib.Path(folder) / FILE) as temporary:
            fields = dataclasses.asdict(self) | {"tokens": self.tokens, "seconds": self.seconds}
            for each in fields["rounds"]:
                each["score"] = each["score"] if math.isfinite(each["score"]) else None  # JSON has no NaN
            temporary.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_trial(path: str | os.PathLike) -> TrialRecord:
    """Reads a `trial.json`.

    Raises:
        ValueError: if the file is damaged. The error names the file.
    """
    path = pathlib.Path(path)
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        scores = [math.nan if each["score"] is None else each["score"] for each in fields["rounds"]]
        fields["rounds"] = tuple(
            Round(**each | {"score": score}) for each, score in zip(fields["rounds"], scores, strict=True)
        )
        return TrialRecord(**{field.name: fields[field.name] for field in dataclasses.fields(TrialRecord)})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}. Remove the folder {path.parent}, and search again.") from error


def read_trials(folder: str | os.PathLike) -> list[TrialRecord]:
    """Reads the trials of a search, in the order in which they were made."""
    return [read_trial(path) for path in sorted(pathlib.Path(folder).glob(f"trial_*/{FILE}"))]


def best_of(trials: Iterable[TrialRecord], mode: str) -> TrialRecord | None:
    """The trial with the best score, the earliest of equal ones. None if no trial has a score."""
    scored = [trial for trial in trials if trial.has_score]
    sign = -1 if mode == "max" else 1
    return min(scored, key=lambda trial: sign * trial.score, default=None)


def ranked(trials: Sequence[TrialRecord], mode: str) -> list[TrialRecord]:
    """The trials from the best score to the worst, and those without a score last."""
    sign = -1 if mode == "max" else 1
    return sorted(trials, key=lambda trial: (not trial.has_score, sign * trial.score if trial.has_score else 0.0))

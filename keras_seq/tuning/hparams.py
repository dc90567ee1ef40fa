"""The trials of a search for TensorBoard's HParams page."""

import dataclasses
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from keras_seq.tuning.records import TrialRecord

FOLDER = "tensorboard"


def write_hparams(trials: Sequence[TrialRecord], folder: str | os.PathLike, objective: str) -> list[pathlib.Path]:
    """Writes the values and the scores of trials for TensorBoard, a run `tensorboard/trial_0007` for each trial.

    Each run has the values of the trial, its score after each round (the step is the number of tokens), and the best
    score as `best_` and the objective. The events of a trial replace earlier ones, and remain if nothing has changed.

    Args:
        trials: trials of a search.
        folder: folder of the search.
        objective: name of the score.
    Returns:
        The folders of the runs.
    Raises:
        ImportError: if TensorBoard is not installed.
    """
    try:
        import tensorboard.plugins.hparams.api  # noqa: F401
    except ImportError as error:
        raise ImportError('The HParams page needs TensorBoard: pip install "keras-seq[tuning]"') from error
    folder = pathlib.Path(folder)
    return [_write_trial(trial, folder, objective) for trial in trials]


def _write_trial(trial: TrialRecord, folder: pathlib.Path, objective: str) -> pathlib.Path:
    run = folder / FOLDER / f"trial_{trial.trial}"
    run.mkdir(parents=True, exist_ok=True)
    fields = json.dumps([dataclasses.asdict(trial), objective], sort_keys=True, default=repr)
    suffix = "." + hashlib.sha256(fields.encode()).hexdigest()[:16]
    earlier = list(run.glob("events.out.tfevents.*"))
    if any(path.name.endswith(suffix) for path in earlier):
        return run
    # TensorBoard reads no half-written file, and an interrupted one is not taken for complete.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".events_") as temporary:
        _write_events(trial, temporary, suffix, objective)
        for path in earlier:
            path.unlink(missing_ok=True)
        for path in pathlib.Path(temporary).iterdir():
            path.replace(run / path.name)
    return run


def _write_events(trial: TrialRecord, folder: str, suffix: str, objective: str) -> None:
    import tensorflow as tf
    from tensorboard.plugins.hparams import api, api_pb2, summary

    writer = tf.summary.create_file_writer(folder, filename_suffix=suffix)
    with writer.as_default():
        api.hparams({name: _plain(value) for name, value in trial.values.items()}, trial_id=trial.trial)
        for each in trial.rounds:
            tf.summary.scalar(objective, each.score, step=each.tokens)
        if trial.has_score:
            tf.summary.scalar(f"best_{objective}", trial.score, step=trial.tokens)
        if trial.status != "running":
            ended = trial.status in ("completed", "stopped")
            end = summary.session_end_pb(api_pb2.STATUS_SUCCESS if ended else api_pb2.STATUS_FAILURE)
            tf.summary.experimental.write_raw_pb(end.SerializeToString(), step=0)
    writer.close()


def _plain(value: Any) -> bool | int | float | str:
    """The value in one of the types of the HParams page."""
    return value if isinstance(value, bool | int | float | str) else "none" if value is None else str(value)

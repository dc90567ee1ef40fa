"""kill -9 of either of two workers at any moment: the job starts again by itself, and ends with the same weights."""

import contextlib
import os
import random
import signal
import subprocess
import time
import warnings

import keras
import numpy as np
import pytest

from keras_seq.training import Checkpoints
from keras_seq.training.checkpoints import load
from tests.distribution.workers import LAUNCH, ROOT, until

if keras.backend.backend() != "tensorflow":
    pytest.skip("tf.data", allow_module_level=True)

from tests.training import killed  # noqa: E402 - needs TensorFlow

KILLS = 8
TRAINING = 2.0  # seconds from the first step to the end, about


@contextlib.contextmanager
def workers(folder):
    """Two of them under a launcher that starts them again when one dies."""
    folder.mkdir()
    program = ["python", "-m", "tests.distribution.killed_worker", str(folder)]
    command = [*LAUNCH, "--workers", "2", "--max-restarts", str(KILLS), "--", *program]
    with open(folder / "log", "w") as log, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as launcher:
        try:
            yield launcher
        finally:
            launcher.terminate()


def restarts(folder) -> int:
    return (folder / "log").read_text().count("all start again")


def kill_one(folder, moments: random.Random, launcher) -> None:
    """Waits for a worker that was started after all that were killed before, and for its moment."""
    rank, kind = moments.randrange(2), "training" if moments.random() < 0.8 else "pid"
    delay = moments.uniform(0, 0.8 * TRAINING if kind == "training" else 5 * TRAINING)
    note, before = folder / f"{rank}.{kind}", restarts(folder)
    until(lambda: note.exists() or launcher.poll() is not None)
    if not note.exists():
        return
    time.sleep(delay)
    pid = int(note.read_text())
    for old in [*folder.glob("*.pid"), *folder.glob("*.training")]:
        old.unlink()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: restarts(folder) > before or launcher.poll() is not None)


@pytest.mark.long
def test_workers_that_are_killed_end_where_the_others_do(tmp_path):
    with workers(tmp_path / "whole") as launcher:
        assert launcher.wait() == 0
    expected = outcome(tmp_path / "whole")
    moments, positions, killed_so_far, number, model = random.Random(1), set(), 0, 0, killed.build()
    while killed_so_far < KILLS:
        number += 1
        folder = tmp_path / f"run-{number}"
        with workers(folder) as launcher:
            while launcher.poll() is None and killed_so_far + restarts(folder) < KILLS:
                kill_one(folder, moments, launcher)
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # a damaged checkpoint would be passed over with a warning
                    checkpoint = Checkpoints(folder / "run").latest()
                positions.add(checkpoint.position if checkpoint else (0, 0))
                for path in (folder / "run").glob("checkpoints/epoch-*"):  # the next workers are still starting
                    load(model, path)
            assert launcher.wait() == 0, (folder / "log").read_text()[-3000:]
        killed_so_far += restarts(folder)
        for ours, theirs in zip(outcome(folder), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
        print(f"{folder.name}: {restarts(folder)} kills, of {killed_so_far}")
    assert len(positions) > 3 and any(step for _, step in positions)


def outcome(folder) -> list[np.ndarray]:
    """The weights and the optimizer's variables."""
    with np.load(folder / "run" / "final.npz") as file:
        return [file[name] for name in file]

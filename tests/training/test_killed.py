"""kill -9 at any moment: the run goes on to the weights that it would have had, and no checkpoint fails to load."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

from keras_seq.training import Checkpoints, read_history
from keras_seq.training.checkpoints import load

if keras.backend.backend() != "tensorflow":
    pytest.skip("tf.data", allow_module_level=True)

from tests.training import killed  # noqa: E402 - needs TensorFlow

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def train():
    """A function that trains in a folder, killed after so many seconds; gives the exit code and the seconds it took."""
    root = pathlib.Path(__file__).parents[2]
    environment = {"PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": ""}
    server = subprocess.Popen(
        [sys.executable, "-m", killed.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env=os.environ | environment,
    )

    def order(folder, after="step", seconds=1e6):
        print(json.dumps({"folder": str(folder), "after": after, "seconds": seconds}), file=server.stdin, flush=True)
        return json.loads(server.stdout.readline())

    with server:  # closes its input, which ends it, and waits
        yield order


def outcome(folder):
    """The weights and the optimizer's variables, and the history without times."""
    with np.load(folder / "final.npz") as file:
        arrays = [file[name] for name in file]
    return arrays, [{**row, "seconds": None} for row in read_history(folder / "history.csv")]


@pytest.mark.long
@pytest.mark.parametrize("kills", [2, 20])
def test_a_killed_run_ends_where_the_uninterrupted_one_does(tmp_path, train, kills):
    code, seconds = train(tmp_path / "whole")
    assert code == 0
    arrays, history = outcome(tmp_path / "whole")
    assert len(history) == killed.EPOCHS
    model, moments, positions, number, many = killed.build(), random.Random(kills), set(), 0, kills >= 20
    while kills:
        number += 1
        run, code = tmp_path / f"run-{number}", KILLED
        while code == KILLED:
            if not kills:
                code, _ = train(run)
            elif moments.random() < 0.2:
                code, _ = train(run, "fork", moments.uniform(0, 4 * seconds))
            else:
                code, _ = train(run, "step", moments.uniform(0, 0.6) * seconds)
            kills -= code == KILLED
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a damaged checkpoint would be passed over with a warning
                checkpoint = Checkpoints(run).latest()
                positions.add(checkpoint.position if checkpoint else (0, 0))
            for path in run.glob("checkpoints/epoch-*"):
                load(model, path)
        assert code == 0
        found, rows = outcome(run)
        for ours, theirs in zip(found, arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert rows == history
        assert not list(run.rglob(".writing-*"))
    assert not many or any(step for _, step in positions)

"""Searches in processes of their own, killed at any moment, and shared by workers, one of which is killed."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("KerasTuner's searches run on TensorFlow here", allow_module_level=True)

from keras_seq import tuning
from tests.tuning.test_tuner import comparable

ROOT = pathlib.Path(__file__).parents[2]
KILLS = 20


def start(folder, *flags):
    command = [sys.executable, "-m", "tests.tuning.search_program", str(folder), *map(str, flags)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(folder):
    """The times at which the records of finished trials were written."""
    return {
        path: path.stat().st_mtime_ns
        for path in folder.glob("trial_*/trial.json")
        if tuning.read_trial(path).status != "running"
    }


@pytest.mark.long
def test_a_search_that_is_killed_twenty_times_is_the_uninterrupted_one(tmp_path):
    whole = start(tmp_path / "whole")
    begun = time.monotonic()
    assert whole.wait() == 0, whole.stdout.read()
    seconds = time.monotonic() - begun
    folder, rng, written = tmp_path / "killed", random.Random(7), {}
    for number in range(KILLS):
        # Two kills are in the middle of a write of the oracle: of a new trial, and of the end of one.
        process = start(folder, "--kill-in-write", {4: 2, 9: 4}.get(number, 0))
        if number not in (4, 9):
            # Importing takes half of a short run, and there a kill changes nothing.
            time.sleep(rng.uniform(0.1, 0.25) * seconds)
            process.send_signal(signal.SIGKILL)
        code = process.wait()
        assert code in (-signal.SIGKILL, 0), process.stdout.read()
        assert all(finished(folder)[path] == when for path, when in written.items())  # none was run again
        written = finished(folder)
    last = start(folder)
    assert last.wait() == 0, last.stdout.read()
    assert all(finished(folder)[path] == when for path, when in written.items())
    expected = tuning.read_trials(tmp_path / "whole")
    assert list(map(comparable, tuning.read_trials(folder))) == list(map(comparable, expected))
    assert (folder / "best.json").read_text() == (tmp_path / "whole/best.json").read_text()


@pytest.mark.long
def test_two_workers_share_a_search_and_one_is_killed(tmp_path):
    folder = tmp_path / "search"
    chief = start(folder, "--workers", 2, "--oracle", "random", "--trials", 8)
    deadline = time.monotonic() + 300
    while len({trial.worker for trial in tuning.read_trials(folder)}) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    running = [trial for trial in tuning.read_trials(folder) if trial.status == "running"]
    victim = running[-1].worker
    os.kill(worker_pid(chief.pid, victim), signal.SIGKILL)
    out, _ = chief.communicate(timeout=600)
    assert chief.returncode == 0, out
    trials = tuning.read_trials(folder)
    assert sum(trial.status != "invalid" for trial in trials) == 8
    assert all(trial.status != "running" for trial in trials)
    assert len({str(trial.values) for trial in trials}) == len(trials)  # none twice
    assert f"Worker {victim} died: killed by SIGKILL." in out
    if f"Its trial {running[-1].trial} is given to the next worker." in out:
        assert {trial.worker for trial in trials if trial.trial == running[-1].trial} != {victim}
    assert not children(chief.pid)


def children(pid):
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def worker_pid(chief, name):
    for child in children(chief):
        environment = pathlib.Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"KERASTUNER_TUNER_ID={name}".encode() in environment:
            return child
    raise AssertionError(f"{name} does not run")

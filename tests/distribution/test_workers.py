"""Processes that train together get the weights that one device gets."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.distribution import worlds
from tests.distribution.workers import LAUNCH, ROOT


def trained(folder: pathlib.Path, workers=1, **options) -> dict[str, np.ndarray]:
    """What `worlds.py` writes down, of one process or of several under the launcher."""
    out = folder / ("-".join(map(str, [workers, *options.values()])).replace("/", "_") + ".npz")
    program = [
        sys.executable,
        str(pathlib.Path(__file__).with_name("worlds.py")),
        json.dumps({**options, "out": str(out)}),
    ]
    if workers > 1:
        program = [*LAUNCH, "--workers", str(workers), "--", *program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    with np.load(out) as found:
        return dict(found)


def same(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name in set(found) - {"workers", "agreed", "error"}:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance, err_msg=name)


def trained_here(out: pathlib.Path, **options) -> dict[str, np.ndarray]:
    """One device needs no process of its own."""
    worlds.main(out, **options)
    with np.load(out) as found:
        return dict(found)


@pytest.mark.long
def test_two_workers_are_one_device(tmp_path, double_precision):
    one = trained_here(tmp_path / "one.npz")
    two = trained(tmp_path, workers=2, strategy="multi_worker_mirrored")
    same(two, one, 1e-9)
    assert (int(one["workers"]), int(two["workers"])) == (1, 2)
    assert two["agreed"].tolist() == [True, False]  # one worker's word is enough


@pytest.mark.long
@pytest.mark.parametrize(
    "architecture, accumulation, precision, tolerance",
    [
        ("lstm", 3, "float64", 1e-9),
        ("lstm", None, "float32", 1e-5),
        ("transformer", None, "float64", 1e-9),
        ("transformer", 3, "float32", 1e-5),
    ],
)
def test_real_text(architecture, accumulation, precision, tolerance, real_data, tmp_path):
    options = {"architecture": architecture, "accumulation": accumulation, "precision": precision}
    # At a rate of 0.5 the Transformer's loss swings, and rounding in float32 grows a thousandfold in 50 steps.
    options |= {"corpus": str(real_data("multi30k")), "steps": 30, "rate": 0.1}
    one = trained(tmp_path, **options)
    same(trained(tmp_path, strategy="mirrored", replicas=2, **options), one, tolerance)
    same(trained(tmp_path, workers=2, strategy="multi_worker_mirrored", **options), one, tolerance)


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["lstm", "transformer"])
def test_four_workers(architecture, real_data, tmp_path):
    options = {"architecture": architecture, "corpus": str(real_data("multi30k")), "steps": 10}
    same(trained(tmp_path, workers=4, strategy="multi_worker_mirrored", **options), trained(tmp_path, **options), 1e-9)


@pytest.mark.long
@pytest.mark.parametrize("way", [{}, {"replicas": 2, "strategy": "mirrored"}, {"workers": 2, "strategy": "auto"}])
def test_bfloat16_learns_as_float32_does(way, real_data, tmp_path):
    options = {"architecture": "transformer", "corpus": str(real_data("multi30k")), "steps": 30}
    full = trained(tmp_path, **options, precision="float32")
    half = trained(tmp_path, **options, **way, precision="bfloat16")
    assert abs(half["loss"] - full["loss"]) < 0.02 * full["loss"]


@pytest.mark.long
def test_two_workers_watch_their_gradients_as_one_device(tmp_path, double_precision):
    """Norms over all rows, and an end of both workers before the step with a NaN in the rows of one."""
    here, there = tmp_path / "here", tmp_path / "there"
    trained_here(tmp_path / "one.npz", run=str(here))
    trained(tmp_path, workers=2, strategy="multi_worker_mirrored", run=str(there))
    one, two = (rows_of(folder / "gradients.csv") for folder in (here, there))
    assert one.keys() == two.keys() and len(one["step"]) == 6
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=2e-6, err_msg=name)

    one = trained_here(tmp_path / "bad.npz", run=str(tmp_path / "bad here"), poisoned=5)
    two = trained(tmp_path, workers=2, strategy="multi_worker_mirrored", run=str(tmp_path / "bad"), poisoned=5)
    same(two, one, 1e-9)
    for found in (one, two):
        assert "Training stopped at step 6" in str(found["error"]) and "keras-seq replay" in str(found["error"])
    (folder,) = (tmp_path / "bad").glob("nan-step-*")
    assert folder.name == "nan-step-6" and (folder / "model.keras").exists()


def rows_of(path: pathlib.Path) -> dict[str, list[float]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}

"""The recipe as its users run it: it beats the baselines, its task gives its figures, and bad input is named."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_seq
from recipes import music
from recipes.baselines import note_statistics
from recipes.synthetic import chords
from tests.recipes.finished import OPENED, check_config
from tests.recipes.pages import FAR, error_of, run_page, runner
from tests.recipes.test_piano_rolls import save_json, save_mat

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

SMALL = {"pieces": 60, "epochs": 4, "units": 16, "average": 1, "learning_rate": 0.05}
run_in = runner(music, music.Options(**SMALL))


def metrics_of(run):
    """Values by architecture, of the one metric."""
    entries = json.loads((run / "metrics.json").read_text())
    assert {(entry["split"], entry["metric"]) for entry in entries} == {("test", "NLL per frame")}
    return {entry["architecture"]: entry["value"] for entry in entries}


@pytest.fixture(scope="module")
def begun(made_once):
    """A run on few pieces, exported."""
    return made_once("music", run_in)


def loss_of(probabilities, rolls):
    """In NumPy, from the probabilities alone."""
    after = np.concatenate([roll[1:] for roll in rolls])
    likelihoods = np.where(after, np.concatenate(probabilities), 1 - np.concatenate(probabilities))
    return -np.log(likelihoods.astype("float64")).sum() / len(after)


@OPENED
def test_the_task_gives_the_measured_figure(begun, place):
    rolls, task = chords.rolls(60, 1)["test"], keras_seq.load(begun / place)
    probabilities = task([roll[:-1].astype("float32") for roll in rolls])
    assert loss_of(probabilities, rolls) == pytest.approx(metrics_of(begun / "run")["lstm"], rel=1e-4)


def test_it_leaves_what_it_promises(begun):
    run, parts = begun / "run", chords.rolls(60, 1)
    for name in ("config.json", "history.csv", "parameters.txt", "best.keras"):
        assert (run / name).stat().st_size > 0, name
    for name in ("learning_curve.png", "piano_roll.png"):
        assert (run / "plots" / name).read_bytes().startswith(b"\x89PNG"), name
    found = metrics_of(run)
    expected = note_statistics.frequency_loss(parts["train"], parts["test"])
    assert found["frequency of each note"] == pytest.approx(expected, rel=1e-6)
    assert found["lstm"] < found["frequency of each note"] - 0.5
    check_config(music, run, music.Options(**SMALL))


def test_batches_have_the_next_frame_and_weights_of_real_frames():
    rolls = chords.rolls(7, 3)["train"]
    (batch,) = music.dataset(rolls).padded_batch(7).apply(music.next_frames)
    frames, after, weights = (x.numpy() for x in batch)
    assert frames.shape == after.shape == (7, max(map(len, rolls)) - 1, 88)
    for row, roll in enumerate(rolls):
        T = len(roll) - 1
        np.testing.assert_array_equal(frames[row, :T], roll[:-1])
        np.testing.assert_array_equal(after[row, :T], roll[1:])
        assert (weights[row, :T] == 1).all() and not weights[row, T:].any() and not after[row, T:].any()


@pytest.mark.long
def test_it_remembers_the_chords(tmp_path):
    run = run_in(tmp_path, music.Options())
    found = metrics_of(run)
    assert found["lstm"] < 0.5 * found["frequency of each note after the last frame"]
    serve = tf.saved_model.load(tmp_path / "export").signatures["serve"]
    drawn = serve(inputs=tf.zeros((2, 3, 88)))["outputs"].numpy()
    assert drawn.shape == (2, 3, 88) and (drawn > 0).all() and (drawn < 1).all()


@pytest.mark.long
@pytest.mark.parametrize(
    ("save", "changes"),
    [
        (save_mat, {"architecture": "transformer", "num_heads": 2, "transpose": 1}),
        (save_json, {"architecture": "rnn", "layer_norm": True}),
        (save_json, {"architecture": "gru", "num_layers": 2}),
        (save_json, {"architecture": "mingru"}),
        (save_json, {"architecture": "minlstm"}),
        (save_json, {"architecture": "rglru"}),
    ],
    ids=lambda value: value.__name__ if callable(value) else value["architecture"],
)
def test_every_architecture_runs_to_the_end_on_files(tmp_path, save, changes):
    parts = chords.rolls(12, 2)
    save(tmp_path / f"Tunes.{save.__name__.removeprefix('save_')}", parts)
    run = run_in(tmp_path, data_dir=tmp_path, collection="tunes", epochs=1, **changes)
    expected = note_statistics.persistence_loss(parts["train"], parts["test"])
    assert metrics_of(run)["frequency of each note after the last frame"] == pytest.approx(expected, rel=1e-6)
    assert json.loads((run / "metrics.json").read_text())[0]["data"] == "tunes"
    assert (tmp_path / "export" / "saved_model.pb").exists()


def test_bad_input_gets_one_line_that_names_it(tmp_path, capsys):
    folder = tmp_path / "data"
    argv = ["--data-dir", str(folder), "--run", str(tmp_path / "run"), "--export", str(tmp_path / "export")]
    assert "does not exist" in error_of(music, capsys, *argv)
    folder.mkdir()
    assert "begins with --collection jsb. It has: none" in error_of(music, capsys, *argv)
    (folder / "JSB_Chorales.mat").write_bytes(b"no matrix")
    assert "JSB_Chorales.mat cannot be read" in error_of(music, capsys, *argv)
    assert "--transpose must not be negative. Received: -1" in error_of(music, capsys, "--transpose", "-1")
    assert "--pieces must be positive. Received: 0" in error_of(music, capsys, "--pieces", "0")
    assert not (tmp_path / "run").exists()


@FAR
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, to_the_end):
    for name in ("JSB_Chorales", "Nottingham"):
        save_mat(tmp_path / f"{name}.mat", chords.rolls(8))
    small = {"pieces": 20, "units": 8, "num_heads": 2}
    assert len(run_page(music, tmp_path, monkeypatch, to_the_end, lambda options: small)) >= 4


def test_the_published_collections(real_data):
    counts = {"jsb": (229, 76, 77), "nottingham": (694, 173, 170)}
    for collection, expected in counts.items():
        parts = music.read(dataclasses.replace(music.Options(), data_dir=real_data("music"), collection=collection))
        assert tuple(map(len, parts.values())) == expected
        assert all(3.5 < np.concatenate(rolls).sum(axis=1).mean() < 4.1 for rolls in parts.values())

"""The recipe as its users run it: it learns what no single picture says, draws what comes next, and names bad input."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_seq
from keras_seq import experiment
from keras_seq.tasks.loading import load_run
from recipes import video
from recipes.synthetic import moving_digits
from tests.recipes.finished import OPENED_LONG, check_config
from tests.recipes.pages import FAR, error_of, evaluated, run_page, runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

TINY = video.Options(clips=100, epochs=1, units=8, filters=(4,), frames=4, average=1)
run_in = runner(video, TINY)


def metrics_of(run):
    """Values by (split, metric, architecture)."""
    entries = json.loads((run / "metrics.json").read_text())
    return {(entry["split"], entry["metric"], entry["architecture"]): entry["value"] for entry in entries}


SMALL = {"clips": 300, "epochs": 1, "frames": 6}


@pytest.fixture(scope="module")
def begun(made_once):
    """A run on few clips, exported."""
    return made_once("video", lambda folder: run_in(folder, video.Options(), **SMALL))


@pytest.fixture(scope="module")
def learned(made_once):
    """A run on enough clips to learn from, exported."""
    more = SMALL | {"clips": 1_500, "epochs": 4}
    return made_once("video-learned", lambda folder: run_in(folder, video.Options(), **more))


@pytest.mark.long
def test_it_learns_what_the_order_of_the_pictures_says(learned):
    found = metrics_of(learned / "run")
    assert found["test", "accuracy", "gru"] > 0.95  # without the order: at most 0.5
    assert found["long", "accuracy", "gru"] > 0.95


def test_it_leaves_what_it_promises(begun):
    run = begun / "run"
    for name in ("config.json", "history.csv", "parameters.txt", "best.keras", "test.txt"):
        assert (run / name).stat().st_size > 0, name
    for name in ("learning_curve.png", "confusion.png", "clips.png"):
        assert (run / "plots" / name).read_bytes().startswith(b"\x89PNG"), name
    assert (run / "plots" / "clips.gif").read_bytes().startswith(b"GIF89a")
    told, share, truth, path = (run / "test.txt").read_text().splitlines()[0].split("\t")
    assert {told, truth} <= set(moving_digits.DIRECTIONS) and share.endswith("%") and path == "test-0"
    assert load_run(run, "a test").labels[""] == list(moving_digits.DIRECTIONS)


@pytest.mark.long
def test_what_is_served_names_directions(learned):
    classify = tf.saved_model.load(learned / "export").signatures["classify"]
    clips, direction, _ = moving_digits.clips("test", 50, 8, seed=5)
    found = classify(frames=tf.constant(clips, tf.float32) / 255)
    names = np.array(moving_digits.DIRECTIONS)[direction]
    assert np.mean(found["label"].numpy().astype(str) == names) > 0.9


def test_what_is_served_is_the_same_whatever_a_clip_is_padded_with(begun):
    classify = tf.saved_model.load(begun / "export").signatures["classify"]
    clips, _, _ = moving_digits.clips("test", 50, 8, seed=5)
    frames = tf.constant(clips, tf.float32) / 255
    found = classify(frames=frames)
    padded = classify(frames=tf.pad(frames, [[0, 0], [0, 5], [0, 0], [0, 0], [0, 0]]))
    np.testing.assert_allclose(padded["probabilities"], found["probabilities"], atol=1e-4)
    alone = classify(frames=frames[3:4])
    np.testing.assert_allclose(alone["probabilities"][0], found["probabilities"][3], atol=1e-4)


def save_clips(folder, part):
    """The clips as arrays in a folder for each class."""
    for number, label in enumerate(part.labels):
        place = folder / part.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{number}.npy", part.clip(number))


def test_evaluate_gives_the_scores_of_the_recipe(begun, capsys, tmp_path):
    part = moving_digits.video("direction", "test", 100, frames=6, size=16, seed=1)
    save_clips(tmp_path, part)
    expected = metrics_of(begun / "run")["test", "accuracy", "gru"]
    record = evaluated(capsys, begun / "run", tmp_path)
    assert record["accuracy"] == pytest.approx(expected, abs=1e-4) and record["inputs"] == 100


def test_the_config_gives_the_same_options(begun):
    check_config(video, begun / "run", dataclasses.replace(video.Options(), **SMALL))


@OPENED_LONG
def test_the_task_gives_the_measured_figures(begun, place):
    task, found = keras_seq.load(begun / place), metrics_of(begun / "run")
    for name, part, frames in (("test", "test", 6), ("long", "test", 12)):
        clips, directions, _ = moving_digits.clips(part, 100, frames, seed=1)
        predicted = task(list(clips.astype("float32") / 255))
        accuracy = np.mean(np.array(predicted) == np.array(moving_digits.DIRECTIONS)[directions])
        assert accuracy == pytest.approx(found[name, "accuracy", "gru"], abs=1e-4)


@OPENED_LONG
def test_the_task_draws_the_measured_pictures(made_once, place):
    options = dataclasses.replace(TINY, task="next_frame")
    root = made_once("video-next-frame", lambda folder: run_in(folder, options))
    check_config(video, root / "run", options)
    parts = video.read(experiment.with_defaults(options, "next_frame"))
    frames = experiment.frames_of(parts["test"])
    drawn = np.stack(keras_seq.load(root / place)(list(frames[:, :-1])))
    error = np.mean(np.square(drawn[:, 1:] - frames[:, 2:]))
    assert error == pytest.approx(metrics_of(root / "run")["test", "next picture, MSE", "convlstm"], rel=1e-4)


@pytest.mark.long
def test_it_draws_what_comes_next(tmp_path):
    run = run_in(tmp_path, video.Options(task="next_frame"))
    found = metrics_of(run)
    for split in ("test", "long"):
        ours, copied = (found[split, "next picture, MSE", name] for name in ("convlstm", "copy of the last picture"))
        assert ours < copied / 3
    serve = tf.saved_model.load(tmp_path / "export").signatures["serve"]
    drawn = serve(inputs=tf.zeros((2, 3, 16, 16, 1)))["outputs"]
    assert drawn.shape == (2, 3, 16, 16, 1)


def write_clips(folder, classes=("up", "down"), count=12, frames=5):
    """Files of dots that go up or down."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for clip in range(count):
            pictures = np.zeros((frames + clip % 2, 12, 12), np.uint8)
            steps = np.arange(len(pictures))
            pictures[steps, (clip + (2 * number - 1) * steps) % 12, clip] = 255
            np.save(folder / name / f"{clip}.npy", pictures)


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "convlstm", "task": "next_frame"},
        {"architecture": "feedforward", "pooling": "max"},
        {"architecture": "convlstm"},
        {"architecture": "rnn", "pooling": "max"},
        {"architecture": "lstm", "num_layers": 2},
        {"architecture": "minlstm"},
        {"architecture": "rglru"},
        {"architecture": "cnn", "pooling": "attention"},
        {"architecture": "mingru", "bidirectional": True, "pooling": "mean"},
        {"architecture": "transformer", "num_heads": 2},
        {"architecture": "transformer", "num_heads": 2, "task": "next_frame"},
        {"architecture": "gru", "task": "next_frame"},
    ],
    ids=lambda changes: "-".join(str(changes[name]) for name in ("architecture", "task") if name in changes),
)
def test_every_architecture_runs_to_the_end_on_files(tmp_path, changes):
    write_clips(tmp_path / "data" / "train")
    run = run_in(tmp_path, data_dir=tmp_path / "data", size=8, **changes)
    found = metrics_of(run)  # there is no test part: what was held out
    assert {split for split, *_ in found} == {"valid"}
    assert (tmp_path / "export" / "saved_model.pb").exists()


def test_bad_input_gets_one_line_that_names_it(tmp_path, capsys):
    folder = tmp_path / "data"
    argv = ["--data-dir", str(folder), "--run", str(tmp_path / "run"), "--export", str(tmp_path / "export")]
    assert "does not exist" in error_of(video, capsys, *argv)
    folder.mkdir()
    assert "train is not a folder" in error_of(video, capsys, *argv)
    write_clips(folder / "train", count=2)
    assert "too few to hold out some" in error_of(video, capsys, *argv)
    assert "must be one of class, next_frame. Received: digit" in error_of(video, capsys, *argv, "--task", "digit")
    assert "must be one of direction, digit, next_frame" in error_of(video, capsys, "--task", "class")
    assert "--frames must be more than 2" in error_of(video, capsys, "--frames", "2")
    assert "a field of 10 to move" in error_of(video, capsys, "--size", "9")
    write_clips(folder / "valid", classes=("up", "sideways"), count=2)
    assert "'sideways' is not among `class_names`" in error_of(video, capsys, *argv)
    (folder / "train" / "up" / "1.npy").write_bytes(b"no clip")
    assert "1.npy cannot be read" in error_of(video, capsys, *argv)
    assert "predicted from earlier frames alone" in error_of(video, capsys, "--task", "next_frame", "--bidirectional")
    assert "cnn classifies only" in error_of(video, capsys, "--task", "next_frame", "--architecture", "cnn")


@FAR
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, to_the_end):
    for part in ("train", "valid", "test"):
        write_clips(tmp_path / part, count=3)
    small = {"clips": 60, "units": 8, "filters": (4,), "frames": 4, "channels": 1}
    assert len(run_page(video, tmp_path, monkeypatch, to_the_end, lambda options: small)) >= 6

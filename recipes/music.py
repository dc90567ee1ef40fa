"""Music: trains a model that predicts the next frame of piano rolls, and exports a SavedModel of its probabilities.

    python -m recipes.music                                            generated scales and chords, a minute
    python -m recipes.music --data-dir DIR                             chorales of J. S. Bach: DIR/JSB_Chorales.mat
    python -m recipes.music --data-dir DIR --collection nottingham     folk tunes: DIR/Nottingham.mat

docs/music.md explains the results. Run the same command again to resume an interrupted run.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

import numpy as np

from keras_seq import cli, experiment
from keras_seq.architectures import ARCHITECTURES
from keras_seq.cli import option
from keras_seq.experiment import Result, preset
from keras_seq.lazy import data, keras, losses, metrics, models, plots, tasks, tf, tuning

from .baselines import note_statistics
from .public import piano_rolls
from .synthetic import chords

DRAWN = 96  # frames of the test piece that is drawn

Rolls = list[np.ndarray]  # pieces, uint8 (T, 88)


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains, scores and exports a model that predicts the next frame of piano rolls."""

    data_dir: pathlib.Path | None = option(None, "folder with a .mat or .json file (default: generated pieces)")
    collection: str = option("jsb", "first letters of the file's name, such as jsb or nottingham")
    pieces: int = option(300, "number of generated training pieces")
    transpose: int = option(0, "number of semitones by which training pieces are also transposed, up and down")

    architecture: Literal[*ARCHITECTURES] = option("lstm", "architecture of the model")
    units: int | None = preset(64, "width", files=200)
    num_layers: int = option(1, "number of layers")
    layer_norm: bool = option(False, "normalization of the input of each recurrent layer")
    num_heads: int = option(4, "number of attention heads of a transformer")
    input_dropout: float | None = preset(0.0, "dropout rate of the notes of a frame", files=0.2, nottingham=0.1)
    dropout: float | None = preset(0.0, "dropout rate between layers and before the logits", files=0.4)
    weight_decay: float = option(0.0, "weight decay of AdamW")

    epochs: int | None = preset(40, "greatest number of epochs", files=24)
    tokens_per_batch: int = option(1024, "size of a batch in frames: pieces x the longest")
    learning_rate: float | None = preset(1e-2, "peak learning rate", files=1.5e-2, nottingham=5e-3)
    patience: int = option(15, "number of epochs without a better validation loss before training ends")


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    parts = read(options)
    run = experiment.run_folder(options, scope, parts)
    task = train(options, parts, run, scope)
    if scope.chief:
        report(options, run, task, parts)
        experiment.finish(options, run, scope, task, samples=[frames(roll[:-1]) for roll in parts["test"][:3]])


def with_defaults(options: Options) -> Options:
    """The options with the defaults for generated pieces, for files, or for the larger collection."""
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise FileNotFoundError(f"--data-dir {options.data_dir} does not exist. Name a folder.")
    if options.pieces < 1:
        raise ValueError(f"--pieces must be positive. Received: {options.pieces}")
    if options.transpose < 0:
        raise ValueError(f"--transpose must not be negative. Received: {options.transpose}")
    return experiment.with_defaults(
        options, *(() if options.data_dir is None else ("files", options.collection.lower()))
    )


def read(options: Options) -> dict[str, Rolls]:
    """The pieces of the splits "train", "valid" and "test"."""
    if options.data_dir is None:
        return chords.rolls(options.pieces, options.seed)
    path = piano_rolls.find(options.data_dir, options.collection)
    parts = piano_rolls.read(path)
    counts = (f"{len(rolls):,} {split} pieces of {sum(map(len, rolls)):,} frames" for split, rolls in parts.items())
    print(f"{path}: {', '.join(counts)}.")
    return parts


def train(options: Options, parts: dict[str, Rolls], run, scope, callbacks=()) -> tasks.Tensors:
    """Trains a model on whole pieces, with gradients through all of their frames."""
    # Data
    rolls = piano_rolls.transposed(parts["train"], options.transpose)
    batches, valid = experiment.batches(
        options,
        data.InMemory(dataset(rolls)),
        dataset(parts["valid"]),
        tokens_per_batch=options.tokens_per_batch,
        max_length=max(map(len, rolls)) + 1,
        replicas=scope.replicas,
        axes=("T", "T"),
        finish=next_frames,
    )

    # Model
    with scope:
        model = build(options, note_statistics.frequencies(rolls))
        model.compile(
            experiment.adamw(options, batches),
            losses.FrameCrossentropy(),
            weighted_metrics=[metrics.FrameLoss()],
            jit_compile=False,  # compiling each shape takes longer than it saves
        )
    experiment.initialize(options, model, run, {})

    # Fit
    name, mode = monitor(options, parts)
    experiment.fit(options, model, batches, valid, run, scope, monitor=name, mode=mode, watching=callbacks)
    return tasks.Tensors(models.probabilities(model))


def monitor(options: Options, parts: dict[str, Rolls]) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and whether the largest or smallest is best."""
    return "val_frame_loss", "min"


def search_space() -> tuning.Space:
    """The options that `keras-seq tune music` searches. The defaults are those of the recipe."""
    return (
        tuning.Space()
        .choice("architecture", ["gru", "lstm", "mingru", "transformer"])
        .choice("units", [64, 128, 200, 400])
        .choice("num_layers", [1, 2])
        .choice("num_heads", [2, 4], when={"architecture": "transformer"})
        .float("input_dropout", 0.0, 0.5)
        .float("dropout", 0.0, 0.7)
        .float("learning_rate", 5e-4, 1e-2, log=True)
        .choice("tokens_per_batch", [512, 1024, 2048])
    )


def build(options: Options, shares: np.ndarray) -> keras.Model:
    norm = {"layer_norm": options.layer_norm} if options.architecture != "transformer" else {}
    return models.binary_frame_predictor(
        len(shares),
        architecture=options.architecture,
        units=options.units,
        num_layers=options.num_layers,
        feature_shares=shares,
        input_dropout=options.input_dropout,
        dropout=options.dropout,
        num_heads=options.num_heads,
        architecture_options=norm,
    )


def dataset(rolls: Rolls) -> tf.data.Dataset:
    """The pieces, each with a 1 for each of its frames: uint8 `(T, 88)` and float32 `(T,)`."""
    joined, lengths = tf.constant(np.concatenate(rolls)), np.array([len(roll) for roll in rolls])
    ends = np.cumsum(lengths)

    def piece(start, length):
        return joined[start : start + length], tf.ones([length])

    return tf.data.Dataset.from_tensor_slices((ends - lengths, lengths)).map(piece)


def next_frames(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of all frames but the last, of all but the first, and of their weights."""
    return batches.map(
        lambda rolls, real: (tf.cast(rolls[:, :-1], tf.float32), tf.cast(rolls[:, 1:], tf.float32), real[:, 1:])
    )


def frames(roll: np.ndarray) -> np.ndarray:
    return roll.astype("float32")


def report(options: Options, run, task: tasks.Tensors, parts: dict[str, Rolls]) -> None:
    """Prints the loss per frame beside those of the baselines, and draws a piece."""
    test = parts["test"]
    loss = loss_per_frame(task.model, test)
    found = {
        options.architecture: loss,
        "frequency of each note after the last frame": note_statistics.persistence_loss(parts["train"], test),
        "frequency of each note": note_statistics.frequency_loss(parts["train"], test),
    }
    entries = [Result("NLL per frame", value, ".3f", architecture=name) for name, value in found.items()]
    experiment.report(
        options, run, entries, title=f"Test, {sum(len(roll) - 1 for roll in test):,} frames", **common(options)
    )
    piece = test[0][: DRAWN + 1]
    drawn = loss_per_frame(task.model, [piece])
    title = f"Test piece 1: {drawn:.2f} nats per frame, all test pieces {loss:.2f} ({options.architecture})"
    path = run.plots / "piano_roll.png"
    plots.piano_roll(piece[1:], task(frames(piece[:-1])), path, lowest=piano_rolls.LOWEST, title=title)


def loss_per_frame(model: keras.Model, rolls: Rolls) -> float:
    """The loss of a model of probabilities: summed over the notes and over all frames but the first of each piece, by
    their number. It is computed from the logits."""
    logits = keras.Model(model.input, model.get_layer("logits").output)
    total = count = 0.0
    for roll in rolls:
        values = losses.frame_crossentropy(roll[None, 1:], logits(frames(roll[None, :-1]), training=False))
        total, count = total + float(keras.ops.sum(values)), count + values.shape[1]
    return total / count


def common(options: Options) -> dict[str, str]:
    name = {"jsb": "JSB", "nottingham": "Nottingham"}.get(options.collection.lower(), options.collection)
    return {
        "task": "next frame",
        "data": "generated chords" if options.data_dir is None else name,
        "architecture": options.architecture,
    }


if __name__ == "__main__":
    cli.run(main, Options)

"""Video: trains a model on clips and exports a SavedModel that classifies them or predicts their next frames.

    python -m recipes.video                                  synthetic: in which of 8 directions a digit moves
    python -m recipes.video --task digit                     which digit moves
    python -m recipes.video --task next_frame                the next frames
    python -m recipes.video --data-dir DIR                   DIR/train, valid, test: a folder of clips for each class
    python -m recipes.video --data-dir DIR --task next_frame

docs/video.md explains the results. Run the same command again to resume an interrupted run.
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
from keras_seq.lazy import clips, data, keras, models, tasks, text, tf, tuning

from .synthetic import moving_digits

# The first one is the default.
TASKS = {"generated clips": ("direction", "digit", "next_frame"), "clips from files": ("class", "next_frame")}
KNOWN = 2  # frames that it takes to see a motion
DRAWN = 6  # test clips that are drawn


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains, scores and exports a model of clips that predicts their classes or their next frames."""

    task: Literal["direction", "digit", "class", "next_frame"] | None = preset(
        TASKS["generated clips"][0], "target of the prediction", files=TASKS["clips from files"][0]
    )
    data_dir: pathlib.Path | None = option(
        None, "folder with train, and optionally valid and test, each with a folder of clips for each class"
    )
    clips: int | None = preset(4_000, "number of generated training clips", digit=8_000)
    frames: int = option(10, "number of frames of a clip, evenly spread over a longer file")
    every: int = option(1, "step between the frames taken from a file (2: every other one)")
    size: int = option(16, "height and width of a frame in pixels")
    channels: int = option(1, "number of channels of files: 1 (gray) or 3 (color)")

    architecture: Literal["convlstm", *ARCHITECTURES, "cnn", "feedforward"] | None = preset(
        "gru", "architecture of the model", next_frame="convlstm"
    )
    units: int | None = preset(64, "width", next_frame=256)
    num_layers: int = option(1, "number of layers over the frames' vectors (convlstm: one for each of --filters)")
    filters: tuple[int, ...] | None = preset(
        (32, 64, 64), "numbers of channels of the convolutions", direction=(16, 32), next_frame=(64, 64)
    )
    patch_size: int = option(4, "next_frame: side of the square patches of a frame in pixels")
    bidirectional: bool = option(False, "bidirectional layers (not for next_frame)")
    pooling: Literal["attention", "mean", "max", "last"] | None = option(
        None, "pooling of the frames into one vector (default: last, convlstm: mean)"
    )
    num_heads: int = option(4, "number of attention heads of a transformer")
    dropout: float | None = preset(0.2, "dropout rate", direction=0.1, next_frame=0.0)
    weight_decay: float = option(0.0, "weight decay of AdamW")

    epochs: int | None = preset(8, "greatest number of epochs", digit=12, **{"class": 20}, next_frame=6)
    batch_size: int = option(32, "number of clips in a batch")
    learning_rate: float | None = preset(3e-3, "peak learning rate", next_frame=4e-3)


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    parts = read(options)
    run = experiment.run_folder(options, scope, parts)
    task = train(options, parts, run, scope)
    if not scope.chief:
        return

    # Evaluate
    split = "test" if "test" in parts else "valid"
    if options.task == "next_frame":
        report_pictures(options, run, task, parts, split)
    else:
        report_classes(options, run, task, parts, split)

    # Export
    some = parts[split].select(range(min(3, len(parts[split]))))
    experiment.finish(options, run, scope, task, samples=list(experiment.frames_of(some)))


def with_defaults(options: Options) -> Options:
    """The options with a task and the defaults of the task."""
    source = "generated clips" if options.data_dir is None else "clips from files"
    task = options.task or TASKS[source][0]
    if task not in TASKS[source]:
        raise ValueError(f"--task of {source} must be one of {', '.join(TASKS[source])}. Received: {task}")
    if options.frames <= KNOWN:
        raise ValueError(f"--frames must be more than {KNOWN}, to show a motion. Received: {options.frames}")
    if task == "next_frame" and options.bidirectional:
        raise ValueError("--bidirectional: a next frame must be predicted from earlier frames alone. Leave it out.")
    if task == "next_frame" and options.architecture in ("cnn", "feedforward"):
        raise ValueError(f"--architecture {options.architecture} classifies only. --task next_frame takes the others.")
    return experiment.with_defaults(dataclasses.replace(options, task=task), task)


def read(options: Options) -> dict[str, data.Video]:
    """The splits: "train" and "valid", and "test" if there is one. Synthetic data also has "long", with clips of twice
    the length."""
    if options.data_dir is None:
        held_out = max(100, options.clips // 4)
        counts = {"train": options.clips, "valid": held_out, "test": held_out}
        shape = {"frames": options.frames, "size": options.size, "seed": options.seed}
        parts = {part: moving_digits.video(options.task, part, count, **shape) for part, count in counts.items()}
        longer = {**shape, "frames": 2 * options.frames}
        return {**parts, "long": moving_digits.video(options.task, "test", held_out, **longer)}
    shape = {"size": (options.size, options.size), "num_frames": options.frames, "channels": options.channels}
    return experiment.read_clips(experiment.data_folder(options.data_dir, False, ""), every=options.every, **shape)


def train(
    options: Options, parts: dict[str, data.Video], run, scope, callbacks=()
) -> tasks.Classification | tasks.Tensors:
    """Trains a classifier of clips, or a predictor of frames."""
    # Data
    order = data.shuffled(options.seed, buffer_size=len(parts["train"]))
    clips_of_epoch, valid = batches(options, parts["train"], order), batches(options, parts["valid"])
    amount = experiment.training_data(options, clips_of_epoch, [order])
    frame_shape = tuple(clips_of_epoch.element_spec[0].shape[2:])
    if scope.chief and options.task != "next_frame":
        text.save_labels(run.vocabulary / "labels.txt", parts["train"].class_names)

    # Model
    with scope:
        model = build(options, frame_shape, len(parts["train"].class_names))
        model.compile(
            experiment.adamw(options, amount),
            **aims(options),
            jit_compile=False,  # compiling takes longer than it saves
        )
    experiment.initialize(options, model, run, {})

    # Fit
    name, mode = monitor(options, parts)
    experiment.fit(options, model, amount, valid, run, scope, monitor=name, mode=mode, watching=callbacks)
    if options.task == "next_frame":
        return tasks.Tensors(model)
    return tasks.Classification(model, None, parts["train"].class_names)


def monitor(options: Options, parts: dict[str, data.Video]) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and whether the largest or smallest is best."""
    return ("val_mse", "min") if options.task == "next_frame" else ("val_accuracy", "max")


def search_space() -> tuning.Space:
    """The options that `keras-seq tune video` searches. The defaults are those of the recipe."""
    return (
        tuning.Space()
        .choice("architecture", ["gru", "lstm", "mingru", "transformer"])
        .choice("units", [32, 64, 128])
        .choice("num_layers", [1, 2])
        .choice("num_heads", [2, 4], when={"architecture": "transformer"})
        .float("dropout", 0.0, 0.5)
        .float("learning_rate", 5e-4, 1e-2, log=True)
        .choice("batch_size", [16, 32, 64])
    )


def batches(options: Options, part: data.Video, order=None) -> tf.data.Dataset:
    """Batches of clips and labels, or for next_frame of clips without their last and without their first frame."""
    if options.task != "next_frame":
        return part.dataset(order).batch(options.batch_size)
    clips = dataclasses.replace(part, labels=None).dataset(order).batch(options.batch_size)
    return clips.map(lambda frames: (frames[:, :-1], frames[:, 1:]))


def build(options: Options, frame_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    common = {
        "architecture": options.architecture,
        "units": options.units,
        "num_layers": options.num_layers,
        "filters": options.filters,
        "dropout": options.dropout,
        "num_heads": options.num_heads,
    }
    if options.task == "next_frame":
        return models.frame_predictor(frame_shape, **common, patch_size=options.patch_size)
    steps = {"bidirectional": options.bidirectional, "pooling": options.pooling}
    return models.video_classifier(frame_shape, num_classes, **common, **steps)


def aims(options: Options) -> dict:
    if options.task == "next_frame":
        return {"loss": "binary_crossentropy", "metrics": ["mse"]}
    return {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "metrics": ["accuracy"]}


def common(options: Options) -> dict[str, str]:
    data = experiment.data_name(options, "moving digits")
    return {"task": options.task, "data": data, "architecture": options.architecture}


def measured(parts: dict[str, data.Video], split: str) -> list[str]:
    """The splits to evaluate: the given one, and synthetic clips of twice the length."""
    return [split, "long"] if "long" in parts else [split]


def report_classes(options: Options, run, task: tasks.Classification, parts: dict[str, data.Video], split: str) -> None:
    """Prints accuracies, confusions and samples, draws some clips, and writes all into the run folder."""
    entries, results = [], {}
    for name in measured(parts, split):
        results[name] = [one for batch in experiment.frame_batches(parts[name]) for one in task.details(batch)]
        labels = [parts[name].class_names[label] for label in parts[name].labels]
        accuracy = np.mean([one.label == label for one, label in zip(results[name], labels, strict=True)])
        pictures = 2 * options.frames if name == "long" else options.frames
        entries.append(Result("accuracy", accuracy, note=f"{pictures} pictures", split=name))
    part, names = parts[split], parts[split].class_names
    experiment.report(options, run, entries, title=f"{split.capitalize()}, {len(part):,} clips", **common(options))
    predicted = [one.label for one in results[split]]
    experiment.confusions(run, part.labels, [names.index(label) for label in predicted], names)
    probability = [f"{one.probability:.1%}" for one in results[split]]
    columns = {"predicted": predicted, "probability": probability, "class": [names[label] for label in part.labels]}
    experiment.samples({"clip": part.paths, **columns})
    experiment.write_rows(run, f"{split}.txt", {**columns, "clip": part.paths})

    wrong_first = np.argsort(np.array(predicted) == np.array(columns["class"]), kind="stable")[:DRAWN]
    pictures, captions = experiment.frames_of(part.select(wrong_first)), []
    for row in wrong_first:
        name = columns["class"][row]
        captions.append(name if predicted[row] == name else f"{name}, predicted {predicted[row]}")
    rows = {
        f"{number}: {caption}": clip for number, (caption, clip) in enumerate(zip(captions, pictures, strict=True), 1)
    }
    clips.film_strip(rows, run.plots / "clips.png")
    clips.animation({"": pictures}, run.plots / "clips.gif", columns=captions)


def report_pictures(options: Options, run, task: tasks.Tensors, parts: dict[str, data.Video], split: str) -> None:
    """Prints errors next to those of a copy of the last frame, and draws some roll-outs of clips."""
    entries, shown = [], options.frames // 2  # frames at the start of a roll-out
    for name in measured(parts, split):
        truth = experiment.frames_of(parts[name])
        steps = truth.shape[1]
        before, after = truth[:, KNOWN - 1 : -1], truth[:, KNOWN:]
        predicted = np.stack(task(list(truth[:, :-1])))[:, KNOWN - 1 :]
        entries += compared("next picture, MSE", predicted, before, after, name, f"pictures {KNOWN + 1} to {steps}")
        rolled = models.next_frames(task.model, truth[:, :shown], steps - shown)
        last = np.repeat(truth[:, shown - 1 : shown], steps - shown, axis=1)
        note = f"{steps - shown} pictures after {shown}"
        entries += compared("roll-out, MSE", rolled, last, truth[:, shown:], name, note)
        if name == split:
            continued = np.concatenate([truth[:DRAWN, :shown], rolled[:DRAWN]], axis=1)
            both = {"truth": truth[:DRAWN], "drawn": continued}
    experiment.report(
        options, run, entries, title=f"{split.capitalize()}, {len(parts[split]):,} clips", **common(options)
    )
    clips.animation(both, run.plots / "clips.gif", given=shown)
    rows = {f"{name} {number + 1}": both[name][number] for number in range(min(3, len(both["truth"]))) for name in both}
    clips.film_strip(rows, run.plots / "clips.png", given=shown)


def compared(metric: str, drawn, copied, truth, split: str, note: str) -> list[Result]:
    """The mean squared errors of the predicted and of the copied frames."""
    model_error, copy_error = (float(np.mean(np.square(pictures - truth))) for pictures in (drawn, copied))
    return [
        Result(metric, model_error, ".5f", f"{model_error / copy_error:.3f} of copying; {note}", split),
        Result(metric, copy_error, ".5f", note, split, architecture="copy of the last picture"),
    ]


if __name__ == "__main__":
    cli.run(main, Options)

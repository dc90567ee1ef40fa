"""Video: from clips to a SavedModel that says what they show, or draws what comes next.

    python -m recipes.video                                  generated: in which of 8 directions a digit moves
    python -m recipes.video --task digit                     which digit it is that moves
    python -m recipes.video --task next_frame                the pictures that come next
    python -m recipes.video --data-dir DIR                   DIR/train, valid, test: a folder of clips for each class
    python -m recipes.video --data-dir DIR --task next_frame

docs/video.md tells what to look at. Run the same command again and an interrupted run goes on where it stopped.
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
from keras_seq.lazy import clips, data, keras, models, tasks, text, tf

from .synthetic import moving_digits

# The first one is the default.
TASKS = {"generated clips": ("direction", "digit", "next_frame"), "clips from files": ("class", "next_frame")}
KNOWN = 2  # pictures before which nobody can know where something is going
DRAWN = 6  # clips of the test part that are drawn


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains, scores and exports a model of clips: their classes, or the pictures that come next."""

    task: Literal["direction", "digit", "class", "next_frame"] | None = preset(
        TASKS["generated clips"][0], "what is predicted from the clips", files=TASKS["clips from files"][0]
    )
    data_dir: pathlib.Path | None = option(
        None, "folder with train and, if they are there, valid and test: in each a folder of clips for each class"
    )
    clips: int | None = preset(4_000, "generated training clips", digit=8_000)
    frames: int = option(10, "pictures of a clip; of a file that has more, so many evenly spread")
    every: int = option(1, "distance of the pictures of a file that are read: 2 for every other one")
    size: int = option(16, "points of a picture's side")
    channels: int = option(1, "channels of files: 1, gray, or 3, colored")

    architecture: Literal["convlstm", *ARCHITECTURES, "cnn", "feedforward"] | None = preset(
        "gru", "the model", next_frame="convlstm"
    )
    units: int | None = preset(64, "width", next_frame=256)
    num_layers: int = option(1, "layers between the pictures' vectors; a convlstm has as many as --filters")
    filters: tuple[int, ...] | None = preset(
        (32, 64, 64), "channels of the convolutions", direction=(16, 32), next_frame=(64, 64)
    )
    patch_size: int = option(4, "points of a side of the squares that next_frame remembers and draws at once")
    bidirectional: bool = option(False, "let each picture know those after it (not for next_frame)")
    pooling: Literal["attention", "mean", "max", "last"] | None = option(
        None, "how the pictures become one vector (default: last; mean for convlstm)"
    )
    num_heads: int = option(4, "attention heads of a transformer")
    dropout: float | None = preset(0.2, "dropout rate", direction=0.1, next_frame=0.0)
    weight_decay: float = option(0.0, "weight decay of AdamW")

    epochs: int | None = preset(8, "epochs at most", digit=12, **{"class": 20}, next_frame=6)
    batch_size: int = option(32, "clips of a batch")
    learning_rate: float | None = preset(3e-3, "learning rate at its peak", next_frame=4e-3)


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = checked(options)
    parts = read(options)
    run = experiment.run_folder(options, scope, parts)

    # Data
    order = data.shuffled(options.seed, buffer_size=len(parts["train"]))
    train, valid = batches(options, parts["train"], order), batches(options, parts["valid"])
    frame_shape = tuple(train.element_spec[0].shape[2:])
    if scope.chief and options.task != "next_frame":
        text.save_labels(run.vocabulary / "labels.txt", parts["train"].class_names)

    # Model
    with scope:
        model = build(options, frame_shape, len(parts["train"].class_names))
        model.compile(
            experiment.adamw(options, train),
            **aims(options),
            jit_compile=False,  # compiling takes longer than it saves
        )
    experiment.initialize(options, model, run, {})

    # Fit
    monitor = {"monitor": "val_mse"} if options.task == "next_frame" else {"monitor": "val_accuracy", "mode": "max"}
    if not experiment.fit(options, model, train, valid, run, scope, epoch_aware=[order], **monitor):
        return

    # Evaluate
    split = "test" if "test" in parts else "valid"
    if options.task == "next_frame":
        task = tasks.Tensors(model)
        report_pictures(options, run, task, parts, split)
    else:
        task = tasks.Classification(model, None, parts["train"].class_names)
        report_classes(options, run, task, parts, split)

    # Export
    some = parts[split].select(range(min(3, len(parts[split]))))
    experiment.finish(options, run, scope, task, samples=list(experiment.frames_of(some)))


def checked(options: Options) -> Options:
    """The options with a task and what follows from it."""
    source = "generated clips" if options.data_dir is None else "clips from files"
    task = options.task or TASKS[source][0]
    if task not in TASKS[source]:
        raise ValueError(f"--task of {source} must be one of {', '.join(TASKS[source])}. Received: {task}")
    if options.frames <= KNOWN:
        raise ValueError(f"--frames must be more than {KNOWN}: less is no motion. Received: {options.frames}")
    if task == "next_frame" and options.bidirectional:
        raise ValueError("--bidirectional: who predicts a picture must not know those after it. Leave it out.")
    if task == "next_frame" and options.architecture in ("cnn", "feedforward"):
        raise ValueError(f"--architecture {options.architecture} classifies only; --task next_frame takes the others.")
    return experiment.with_defaults(dataclasses.replace(options, task=task), task)


def read(options: Options) -> dict[str, data.Video]:
    """The parts that there are, "train" and "valid" always; where it is generated "long", of twice as many pictures."""
    if options.data_dir is None:
        held_out = max(100, options.clips // 4)
        counts = {"train": options.clips, "valid": held_out, "test": held_out}
        shape = {"frames": options.frames, "size": options.size, "seed": options.seed}
        parts = {part: moving_digits.video(options.task, part, count, **shape) for part, count in counts.items()}
        longer = {**shape, "frames": 2 * options.frames}
        return {**parts, "long": moving_digits.video(options.task, "test", held_out, **longer)}
    shape = {"size": (options.size, options.size), "num_frames": options.frames, "channels": options.channels}
    return experiment.read_clips(experiment.data_folder(options.data_dir, False, ""), every=options.every, **shape)


def batches(options: Options, part: data.Video, order=None) -> tf.data.Dataset:
    """Batches of clips and labels; or of clips without their last picture, and without their first."""
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
    """The parts that are measured: the split, and generated clips of twice as many pictures."""
    return [split, "long"] if "long" in parts else [split]


def report_classes(options: Options, run, task: tasks.Classification, parts: dict[str, data.Video], split: str) -> None:
    """Prints accuracies, confusions and samples, draws some clips, and writes all down in the run folder."""
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
    """Prints errors beside those of a copy of the last picture, and draws some clips that continue by themselves."""
    entries, shown = [], options.frames // 2  # pictures that a roll-out begins with
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
    """The mean squared error of what was drawn, and that of what was copied."""
    ours, theirs = (float(np.mean(np.square(pictures - truth))) for pictures in (drawn, copied))
    return [
        Result(metric, ours, ".5f", f"{ours / theirs:.3f} of copying; {note}", split),
        Result(metric, theirs, ".5f", note, split, architecture="copy of the last picture"),
    ]


if __name__ == "__main__":
    cli.run(main, Options)

"""Video: from clips to a SavedModel that says what they show, or draws what comes next.

    python -m recipes.video                                  generated: in which of 8 directions a digit moves
    python -m recipes.video --task digit                     which digit it is that moves
    python -m recipes.video --task next_frame                the pictures that come next
    python -m recipes.video --data-dir DIR                   DIR/train, valid, test: a folder of clips for each class
    python -m recipes.video --data-dir DIR --task next_frame

docs/video.md tells what to look at. Run the same command again and an interrupted run goes on where it stopped.
"""

import dataclasses
import pathlib
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from keras_seq import cli, data, experiment, export, layers, models, optimizers, tasks, text
from keras_seq.cli import option
from keras_seq.experiment import Result
from keras_seq.inspection import clips

from .synthetic import moving_digits

# What a flag that is not given means, for each task.
CLASSES = {"architecture": "gru", "units": 64, "learning_rate": 3e-3}
TASKS = {
    "direction": {**CLASSES, "clips": 4_000, "filters": (16, 32), "dropout": 0.1, "epochs": 8},
    "digit": {**CLASSES, "clips": 8_000, "filters": (32, 64, 64), "dropout": 0.2, "epochs": 12},
    "class": {**CLASSES, "clips": 0, "filters": (32, 64, 64), "dropout": 0.2, "epochs": 20},
    "next_frame": {"architecture": "convlstm", "units": 256, "learning_rate": 4e-3}
    | {"clips": 4_000, "filters": (64, 64), "dropout": 0.0, "epochs": 6},
}
HELD_OUT = 10  # where nothing else is there to validate on, every tenth training clip is
KNOWN = 2  # pictures before which nobody can know where something is going
DRAWN = 6  # clips of the test part that are drawn


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains, scores and exports a model of clips: their classes, or the pictures that come next."""

    task: Literal["direction", "digit", "class", "next_frame"] | None = option(
        None, "what is asked of the clips (default: direction; class for files)"
    )
    data_dir: pathlib.Path | None = option(
        None, "folder with train and, if they are there, valid and test: in each a folder of clips for each class"
    )
    clips: int | None = option(None, "training clips, where they are generated (default: 4,000; 8,000 for digit)")
    frames: int = option(10, "pictures of a clip; of a file that has more, so many evenly spread")
    every: int = option(1, "of files, take each so manieth picture first")
    size: int = option(16, "points of a picture's side")
    channels: int = option(1, "of files: 1, gray, or 3, colored")

    architecture: Literal["convlstm", *layers.ARCHITECTURES, "cnn", "feedforward"] | None = option(
        None, "the model (default: gru; convlstm for next_frame)"
    )
    units: int | None = option(None, "width (default: 64; 256 for next_frame)")
    num_layers: int = option(1, "between the pictures' vectors; a convlstm has as many as --filters")
    filters: tuple[int, ...] | None = option(
        None, "channels of the convolutions (default: 16 32 for direction, 64 64 for next_frame, else 32 64 64)"
    )
    patch_size: int = option(4, "of next_frame: points of a side of the squares that are remembered and drawn at once")
    bidirectional: bool = option(False, "let each picture know those after it (not for next_frame)")
    pooling: Literal["attention", "mean", "max", "last"] | None = option(
        None, "how the pictures become one vector (default: last; mean for convlstm)"
    )
    num_heads: int = option(4, "attention heads of a transformer")
    dropout: float | None = option(None, "rate (default: 0.1 for direction, 0 for next_frame, else 0.2)")
    weight_decay: float = option(0.0, "of AdamW")

    epochs: int | None = option(
        None, "at most (default: 8 for direction, 12 for digit, 20 for class, 6 for next_frame)"
    )
    batch_size: int = option(32, "clips")
    learning_rate: float | None = option(None, "at its peak (default: 0.003; 0.004 for next_frame)")


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
            optimizers.AdamW(
                experiment.learning_rate(options, int(train.cardinality())),
                weight_decay=options.weight_decay,
                global_clipnorm=1.0,
            ),
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
        report_pictures(options, run, model, parts, split)
        task = tasks.Tensors(model)
    else:
        report_classes(options, run, model, parts, split)
        task = tasks.Classification(model, None, parts["train"].class_names)

    # Export
    some = parts[split].select(range(min(3, len(parts[split]))))
    task.save(run)
    export.saved_model(task, options.export, samples=list(frames_of(some)))
    experiment.finish(options, run, scope)


def checked(options: Options) -> Options:
    """The options with a task and what follows from it."""
    possible = ("direction", "digit", "next_frame") if options.data_dir is None else ("class", "next_frame")
    task = options.task or possible[0]
    if task not in possible:
        clips = "generated clips" if options.data_dir is None else "clips from files"
        raise ValueError(f"--task of {clips} must be one of {', '.join(possible)}. Received: {task}")
    if options.frames <= KNOWN:
        raise ValueError(f"--frames must be more than {KNOWN}: less is no motion. Received: {options.frames}")
    if task == "next_frame" and options.bidirectional:
        raise ValueError("--bidirectional: who predicts a picture must not know those after it. Leave it out.")
    if task == "next_frame" and options.architecture in ("cnn", "feedforward"):
        raise ValueError(f"--architecture {options.architecture} classifies only; --task next_frame takes the others.")
    return experiment.with_defaults(dataclasses.replace(options, task=task), TASKS[task])


def read(options: Options) -> dict[str, data.Video]:
    """The parts that there are, "train" and "valid" always; where it is generated "long", of twice as many pictures."""
    if options.data_dir is None:
        held_out = max(100, options.clips // 4)
        counts = {"train": options.clips, "valid": held_out, "test": held_out}
        shape = {"frames": options.frames, "size": options.size, "seed": options.seed}
        parts = {part: moving_digits.video(options.task, part, count, **shape) for part, count in counts.items()}
        longer = {**shape, "frames": 2 * options.frames}
        return {**parts, "long": moving_digits.video(options.task, "test", held_out, **longer)}
    folder, parts, names = experiment.data_folder(options.data_dir, False, ""), {}, None
    wanted = {"every": options.every, "num_frames": options.frames, "channels": options.channels}
    for part in ("train", "valid", "test"):
        if part == "train" or (folder / part).is_dir():
            size = (options.size, options.size)
            parts[part] = data.read_video(folder / part, size=size, class_names=names, **wanted)
            names = parts[part].class_names
            print(f"{folder / part}: {parts[part].report}; {', '.join(names)}.")
    if "valid" not in parts:
        whole = parts["train"]
        held_out = np.arange(len(whole)) % HELD_OUT == HELD_OUT - 1
        if not held_out.any():
            raise ValueError(
                f"{folder / 'train'} has {len(whole)} clips, too few to hold out some. Add {folder / 'valid'}."
            )
        parts |= {"train": whole.select(np.flatnonzero(~held_out)), "valid": whole.select(np.flatnonzero(held_out))}
    return parts


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


def frames_of(part: data.Video) -> np.ndarray:
    """All clips of a part, float32 `(N, T, H, W, C)`."""
    return np.stack(list(dataclasses.replace(part, labels=None).dataset().as_numpy_iterator()))


def common(options: Options) -> dict[str, str]:
    name = "moving digits" if options.data_dir is None else options.data_dir.name
    return {"task": options.task, "data": name, "architecture": options.architecture}


def report_classes(options: Options, run, model: keras.Model, parts: dict[str, data.Video], split: str) -> None:
    """Prints accuracies, confusions and samples, draws some clips, and writes all down in the run folder."""
    results, found = [], {}
    for name in [split, "long"][: 1 + ("long" in parts)]:
        logits = experiment.predict_batches(model, parts[name].dataset().batch(64))
        found[name] = tf.nn.softmax(np.concatenate(logits)).numpy()
        accuracy = np.mean(found[name].argmax(axis=1) == parts[name].labels)
        note = f"{2 * options.frames} pictures" if name == "long" else f"{options.frames} pictures"
        results.append(Result("accuracy", accuracy, note=note, split=name))
    part, best, share = parts[split], found[split].argmax(axis=1), found[split].max(axis=1)
    experiment.report(options, run, results, title=f"{split.capitalize()}, {len(part):,} clips", **common(options))
    names = part.class_names
    experiment.confusions(run, part.labels, best, names)
    truth, told = [names[label] for label in part.labels], [names[label] for label in best]
    sure = [f"{x:.1%}" for x in share]
    experiment.samples({"clip": part.paths, "class": truth, "predicted": told, "probability": sure})
    lines = zip(told, sure, truth, map(str, part.paths), strict=True)
    run.write(f"{split}.txt", "".join("\t".join(line) + "\n" for line in lines))

    shown = np.argsort(best == part.labels, kind="stable")[:DRAWN]  # those that are wrong come first
    pictures = frames_of(part.select(shown))
    pairs = [(truth[number], told[number]) for number in shown]
    captions = [name if name == taken else f"{name}, taken for {taken}" for name, taken in pairs]
    rows = {
        f"{number + 1}: {caption}": clip for number, (caption, clip) in enumerate(zip(captions, pictures, strict=True))
    }
    clips.film_strip(rows, run.plots / "clips.png")
    clips.animation({"": pictures}, run.plots / "clips.gif", columns=captions)


def report_pictures(options: Options, run, model: keras.Model, parts: dict[str, data.Video], split: str) -> None:
    """Prints errors beside those of who repeats the last picture, and draws some clips that go on by themselves."""
    results, given = [], options.frames // 2
    for name in [split, "long"][: 1 + ("long" in parts)]:
        truth = frames_of(parts[name])
        steps = truth.shape[1]
        seen, comes = truth[:, KNOWN - 1 : -1], truth[:, KNOWN:]
        drawn = model.predict(truth[:, :-1], batch_size=64, verbose=0)[:, KNOWN - 1 :]
        results += compared("next picture, MSE", drawn, seen, comes, name, f"pictures {KNOWN + 1} to {steps}")
        rolled = models.next_frames(model, truth[:, :given], steps - given)
        last = np.repeat(truth[:, given - 1 : given], steps - given, axis=1)
        note = f"{steps - given} pictures, {given} given"
        results += compared("roll-out, MSE", rolled, last, truth[:, given:], name, note)
        if name == split:
            shown = slice(0, DRAWN)
            both = {"truth": truth[shown], "drawn": np.concatenate([truth[shown, :given], rolled[shown]], axis=1)}
    experiment.report(
        options, run, results, title=f"{split.capitalize()}, {len(parts[split]):,} clips", **common(options)
    )
    clips.animation(both, run.plots / "clips.gif", given=given)
    rows = {f"{name} {number + 1}": both[name][number] for number in range(min(3, len(both["truth"]))) for name in both}
    clips.film_strip(rows, run.plots / "clips.png", given=given)


def compared(metric: str, drawn, copied, truth, split: str, note: str) -> list[Result]:
    """The mean squared error of what was drawn, and that of what was copied."""
    ours, theirs = (float(np.mean(np.square(pictures - truth))) for pictures in (drawn, copied))
    return [
        Result(metric, ours, ".5f", f"{ours / theirs:.3f} of copying; {note}", split),
        Result(metric, theirs, ".5f", note, split, architecture="copy of the last picture"),
    ]


if __name__ == "__main__":
    cli.run(main, Options)

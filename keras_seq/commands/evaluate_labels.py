"""Scores of classes, of tags and of arrays."""

import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from keras_seq.cli import table
from keras_seq.commands.evaluate import Evaluate, Scores, as_trained, column, failure_lines, one_file
from keras_seq.tasks.results import Failure

_SEEN = 2  # frames that it takes to see the motion of a clip
_WHOLE_NUMBER = re.compile(r"[+-]?\d+")


def score_classes(options: Evaluate, task: Any) -> Scores:
    """Accuracy, macro-F1 and confusions of a classifier of texts, recordings or clips."""
    inputs, labels = _labeled_inputs(options, task)
    limits = options.limits if task.rank is None else {}
    results = task.predictor(**limits)(inputs)
    if any(isinstance(result, dict) for result in results):
        raise ValueError(
            f"{task.where} has several outputs. Evaluate it in Python: keras_seq.load and keras_seq.scores."
        )
    predicted = [None if isinstance(result, Failure) else result.label for result in results]
    names = _class_names(task, results)
    return _class_scores(
        predicted, named(labels, names, options.files[0], task), names, failure_lines(results, "inputs")
    )


def _labeled_inputs(options: Evaluate, task: Any) -> tuple[Sequence, list[str]]:
    if task.rank is None:
        return _texts(options, task)
    if task.rank == 1:
        from keras_seq.commands.evaluate_sound import read_recordings

        recordings = read_recordings(options, task)
        return recordings.waveforms, recordings.texts
    video = _clips(options, task)
    return list(_frames(video)), [video.class_names[label] for label in video.labels]


def _texts(options: Evaluate, task: Any) -> tuple[list[str], list[str]]:
    from keras_seq import data

    read = as_trained(options, task, text_column="1", label_column="0", header="auto")
    columns = {"text": column(read["text_column"]), "label": column(read["label_column"])}
    header = {"auto": None, "yes": True, "no": False}[read["header"]]
    labeled = data.read_labeled_text(list(options.files), header=header, **columns)
    return labeled.texts, [labeled.label_names[label] for label in labeled.labels]


def named(labels: list[str], names: Sequence[str], path: pathlib.Path, task: Any) -> list[str]:
    """The labels under the model's names for them. Numbers that were renamed in training (--label-names) are matched
    in their order, if all of them occur.

    Raises:
        ValueError: for a label that is not a class of the model.
    """
    unknown = sorted(set(labels) - set(names))
    if not unknown:
        return labels
    different = set(labels)
    if len(different) == len(names) and all(_WHOLE_NUMBER.fullmatch(label) for label in different):
        renamed = dict(zip(sorted(different, key=int), names, strict=True))
        return [renamed[label] for label in labels]
    raise ValueError(
        f"{path}: the label {unknown[0]!r} is not a class of {task.where}: {', '.join(names)}. Does "
        "--label-column name the column of the labels?"
    )


def _class_names(task: Any, results: list) -> list[str]:
    if hasattr(task, "labels"):
        return list(task.labels[""])
    return list(next((result.probabilities for result in results if not isinstance(result, Failure)), ()))


def _class_scores(predicted: list, labels: list[str], names: list[str], more: tuple[str, ...]) -> Scores:
    from keras_seq import scores

    accuracy, f1 = scores.accuracy(predicted, labels), scores.macro_f1(predicted, labels, names)
    counts = scores.confusions(predicted, labels, names)
    record = {"accuracy": accuracy, "macro_f1": f1, "inputs": len(labels), "labels": names, "confusions": counts}
    rows = [
        ("accuracy", f"{accuracy:.2%}", f"{len(labels):,} inputs"),
        ("macro-F1", f"{f1:.2%}", f"{len(names)} classes"),
    ]
    cells = [("true, and predicted as", *names)]
    cells += [(name, *(f"{count:,}" for count in row)) for name, row in zip(names, counts, strict=True)]
    return Scores(record, rows, ("", *table(cells), *more))


def _clips(options: Evaluate, task: Any) -> Any:
    """Clips of a folder with a folder for each class, in the model's frame size."""
    from keras_seq import data

    folder = one_file(options)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder. Give a folder with a folder of clips for each class.")
    read = as_trained(options, task, frames=None, every=1)
    height, width, channels = frame_shape(task)
    return data.read_video(
        folder, every=read["every"], num_frames=read["frames"], size=(height, width), channels=channels
    )


def frame_shape(task: Any) -> tuple[int, int, int]:
    """Height, width and channels of the model's frames."""
    (spec,) = _inputs(task).values()
    return tuple(spec.shape[2:])


def _inputs(task: Any) -> dict[str, Any]:
    """Specs of the task's input tensors by name."""
    from keras_seq.tasks.signatures import inputs_of

    functions = getattr(task, "signatures_by_name", None)
    return inputs_of(task.function(task.verb) if functions is None else functions[task.verb])


def _frames(video: Any) -> Iterable[Any]:
    return (frames for frames, *_ in video.dataset().as_numpy_iterator())


class _Tagged(NamedTuple):
    words: list[list[str]]
    tags: list[list[str]]


def score_tags(options: Evaluate, task: Any) -> Scores:
    """Accuracy of a tagger, and precision, recall and F1 of spans if the tags mark spans."""
    from keras_seq import data, scores

    read = as_trained(options, task, word_column=None, tag_column=None, spans="auto")
    text = data.read_tags(list(options.files), words=column(read["word_column"]), tags=column(read["tag_column"]))
    results = task.predictor(**options.limits)(text.words)
    rows = zip(results, text.tags, strict=True)
    predicted = [[""] * len(tags) if isinstance(result, Failure) else result.tags for result, tags in rows]
    pairs = [
        (ours, theirs) for row in zip(predicted, text.tags, strict=True) for ours, theirs in zip(*row, strict=True)
    ]
    accuracy = scores.accuracy(*map(list, zip(*pairs, strict=True)))
    record = {"accuracy": accuracy, "words": len(pairs), "sentences": len(text)}
    table_rows = [("accuracy", f"{accuracy:.2%}", f"{len(pairs):,} words")]
    known = sorted({*getattr(task, "tags", ()), *text.tag_names})
    if data.mark_spans(known) if read["spans"] == "auto" else read["spans"] == "yes":
        sides = [[data.spans([tag or "O" for tag in row]) for row in side] for side in (predicted, text.tags)]
        spans = scores.span_f1(*sides)
        record |= {"span_precision": spans.precision, "span_recall": spans.recall, "span_f1": spans.f1}
        table_rows += [("span precision", f"{spans.precision:.2%}", f"{spans.found:,} spans predicted")]
        table_rows += [("span recall", f"{spans.recall:.2%}", f"{spans.true:,} spans")]
        table_rows += [("span F1", f"{spans.f1:.2%}", f"{spans.right:,} right")]
    return Scores(record, table_rows, failure_lines(results, "sentences"))


def score_arrays(options: Evaluate, task: Any) -> Scores:
    """The errors of a model from arrays to arrays: on an .npz file, or the next frames of a folder of clips."""
    path = one_file(options)
    return _next_frames(options, task) if path.is_dir() else _arrays(path, task)


def _next_frames(options: Evaluate, task: Any) -> Scores:
    """Mean squared error of the next frames of clips, from the third on, and that of copies of the frame before."""

    truth = [clip for clip in _frames(_clips(options, task))]
    results = task.predictor()([clip[:-1] for clip in truth])
    if any(isinstance(result, Failure) for result in results):
        raise ValueError(f"{task.where} cannot predict these clips: {failure_lines(results, 'clips')[1]}")
    drawn = [next(iter(result.arrays.values())) for result in results]
    sides = zip(drawn, truth, strict=True)
    ours = _mean_square(ours[_SEEN - 1 :] - clip[_SEEN:] for ours, clip in sides)
    copied = _mean_square(clip[_SEEN - 1 : -1] - clip[_SEEN:] for clip in truth)
    record = {"next_frame_mse": ours, "copy_mse": copied, "clips": len(truth)}
    rows = [("next frame, MSE", f"{ours:.5f}", f"{len(truth):,} clips")]
    return Scores(
        record, [*rows, ("copy of the last frame, MSE", f"{copied:.5f}", f"{ours / max(copied, 1e-12):.3f} of it")]
    )


def _mean_square(differences: Iterable[Any]) -> float:
    import numpy as np

    parts = [np.square(difference, dtype=float).ravel() for difference in differences]
    return float(np.concatenate(parts).mean())


def _arrays(path: pathlib.Path, task: Any) -> Scores:
    """Scores of a model on an .npz file with inputs and expected outputs under the names of the task."""
    import numpy as np

    if path.suffix != ".npz":
        raise ValueError(
            f"{path} is not an .npz file. Give one with the inputs and the expected outputs by their names."
        )
    names = list(_inputs(task))
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} has no array {missing[0]!r}. It has {', '.join(arrays)}; the model reads {', '.join(names)}."
        )
    examples = [dict(zip(names, row, strict=True)) for row in zip(*(arrays[name] for name in names), strict=True)]
    results = task.predictor()(examples)
    if any(isinstance(result, Failure) for result in results):
        raise ValueError(f"{path}: {failure_lines(results, 'examples')[1]}")
    outputs = [name for name in results[0].arrays if name in arrays]
    if not outputs:
        raise ValueError(f"{path} has no expected output. Add one of {', '.join(results[0].arrays)}, by that name.")
    record, rows = {"examples": len(examples)}, []
    for name in outputs:
        scores = _array_scores(np.stack([result.arrays[name] for result in results]), arrays[name], path, name)
        record[name] = scores
        rows += [(name, metric, f"{value:.5g}") for metric, value in scores.items()]
    return Scores(record, rows)


def _array_scores(outputs: Any, expected: Any, path: pathlib.Path, name: str) -> dict[str, float]:
    """Accuracy of logits `(..., N)` if the expected values are class numbers `(...)`, else mean errors."""
    import numpy as np

    if np.issubdtype(expected.dtype, np.integer) and expected.shape == outputs.shape[:-1]:
        return {"accuracy": float(np.mean(outputs.argmax(axis=-1) == expected))}
    if outputs.shape != expected.shape:
        raise ValueError(f"{path}: {name!r} has the shape {expected.shape}, but the model's output {outputs.shape}.")
    off = outputs.astype(float) - expected
    return {"mse": float(np.mean(np.square(off))), "mae": float(np.mean(np.abs(off)))}

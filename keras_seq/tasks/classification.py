"""Classification of texts, sounds or clips."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

import tensorflow as tf

from keras_seq.tasks.arrays import arrays_in_batches
from keras_seq.tasks.batching import Limits, texts_in_batches
from keras_seq.tasks.results import Classified, Failure, strings
from keras_seq.tasks.run_folder import (
    check_vocabulary,
    input_sizes,
    load_keras,
    load_part,
    load_single_vocabulary,
    reads_tokens,
)
from keras_seq.tasks.samples import SAMPLES, array_batches, text_batches
from keras_seq.tasks.signatures import STRINGS, Call, Signature, inputs_of
from keras_seq.tasks.task import Array, Output, Result, Task, save_vocabularies
from keras_seq.tasks.tensors import input_specs
from keras_seq.tasks.text_ops import padded, with_end


class Classification(Task[str | Array, Sequence[str | Array], Output, Result]):
    """Assigns a class to a text, a sound, or a clip.

    `classify(text (B,)) -> label (B,), probability (B,)`, the likeliest class, and `labels (B, N)`, `probabilities
    (B, N)`, all classes, the same labels in each row. If the model does not read text, the input has the name and shape
    that it has in the model: `waveform (B, samples)`, `frames (B, T, height, width, channels)`. If the model answers
    several questions, all outputs are prefixed with the question's name: `digit_label`, `digit_probability`, ...

    In Python an input is a text, a waveform `(samples,)` or a clip `(T, height, width, channels)`, and an output is the
    label of the likeliest class. The details are `Classified`. For several questions both are dicts.

    Args:
        model: a built Keras model that returns logits `(B, N)`.
        vocabulary: vocabulary of the text. None: the model does not read text.
        labels: names of the classes, in the order of their numbers, or a dict of such lists if the model answers
            several questions.
        add_end: whether the end token follows each text, as in `vocabulary.encoded()`.
    Raises:
        ValueError: for labels that are not lists, or if the model has another number of classes.
    Example:
        >>> words = text.Words.train(["a fine film", "a dull film"])
        >>> model = models.classifier(words.size, 2, architecture="gru", units=8)
        >>> mood = tasks.Classification(model, words, ["bad", "good"])
        >>> mood("a fine film") in ("bad", "good"), len(mood(["a film", "films"]))
        (True, 2)
    """

    name, verb = "classification", "classify"

    @overload
    def __init__(
        self: "Classification[str, Classified | Failure]",
        model: Any,
        vocabulary: Any,
        labels: Sequence[str],
        *,
        add_end: bool = True,
    ): ...
    @overload
    def __init__(
        self: "Classification[dict[str, str], dict[str, Classified] | Failure]",
        model: Any,
        vocabulary: Any,
        labels: Mapping[str, Sequence[str]],
        *,
        add_end: bool = True,
    ): ...

    def __init__(self, model: Any, vocabulary: Any, labels: Any, *, add_end: bool = True):
        super().__init__(model)
        self.vocabulary, self.add_end = vocabulary, add_end
        self.labels = labels if isinstance(labels, dict) else {"": labels}
        for names in self.labels.values():
            check_names("labels", names)
        self.resources = [] if vocabulary is None else [vocabulary]
        self.samples = None if vocabulary is None else SAMPLES
        self._check()
        self.rank = None if vocabulary is not None else len(next(iter(input_specs(self.model).values())).shape) - 1

    def _check(self):
        model = self.model
        outputs = model.output if isinstance(model.output, dict) else {"": model.output}
        shapes = {name: tuple(x.shape[1:]) for name, x in outputs.items()}
        if shapes != {name: (len(names),) for name, names in self.labels.items()}:
            raise ValueError(
                f"`labels` must name the classes of the model's outputs, {_counted(shapes)}. Received: "
                + "; ".join(f"{name + ': ' if name else ''}{tuple(names)}" for name, names in self.labels.items())
            )

    def signatures(self):
        """Name -> `Signature`. The first one is the default."""
        model = self.model

        def classify(**given):
            (x,) = given.values()
            if self.vocabulary is not None:
                ids = self.vocabulary.tokenize(x)
                x = padded(with_end(ids, self.vocabulary) if self.add_end else ids, self.vocabulary.pad_id)
            logits = model(x, training=False)
            logits = logits if isinstance(logits, dict) else {"": logits}
            found = {}
            for question, names in self.labels.items():
                found |= _classes(logits[question], names, f"{question}_" if question else "")
            return found

        inputs = {"text": STRINGS} if self.vocabulary is not None else input_specs(model)
        return {"classify": Signature(classify, inputs)}

    def predictor(self, **limits):
        """Returns a function from inputs to a `Classified` or `Failure` for each.

        Args:
            limits: fields of `batching.Limits`.
        """

        def lengths(texts):
            return (self.vocabulary.tokenize(texts).row_lengths().numpy() + 1).tolist() if texts else []

        return classifying(self.function("classify"), Limits(**limits), lengths)

    def output(self, result):
        """The label, or a dict of labels for several questions."""
        return labels_of(result)

    def config(self):
        return {"add_end": self.add_end}

    def _save_parts(self, folder):
        from keras_seq import text

        if self.vocabulary is not None:
            save_vocabularies(folder, {"vocabulary": self.vocabulary})
        if set(self.labels) == {""}:
            text.save_labels(folder / "labels.txt", self.labels[""])
        else:
            raise ValueError("A run folder can hold the labels of one question only. Received: labels of several")

    @classmethod
    def load(cls, folder, file, options, model=None):
        """Opens a run folder, see `loading`."""
        labels = load_labels(folder)
        model = load_keras(file) if model is None else model
        vocabulary = load_single_vocabulary(folder) if reads_tokens(model) else None
        shape = getattr(getattr(model, "output", None), "shape", ())
        if len(shape) != 2 or shape[1] != len(labels):
            raise ValueError(
                f"{file} returns {tuple(shape)}, but {labels_file(folder)} names {len(labels)} classes. "
                "A classifier returns one number for each class. One of the two files is from another run."
            )
        kind: Any = cls  # of these labels
        task = kind(model, vocabulary, labels, **options)
        task.folder, task.file = folder, file
        if sizes := input_sizes(model):
            check_vocabulary(task, vocabulary, sizes)
        return task

    def calls(self, functions, samples):
        if self.vocabulary is not None:
            return [Call("classify", {"text": batch}) for batch in text_batches(samples)]
        return [Call("classify", batch) for batch in array_batches(samples, inputs_of(functions["classify"]))]


def classifying(function, limits, lengths=None):
    """Returns a function from inputs to `Classified` or `Failure`s, given a function of tensors such as an export's.

    Args:
        function: function of `text (B,)`, or of arrays with another name.
        lengths: function from texts to their numbers of tokens. None: an estimate.
    """
    (name,) = inputs_of(function)

    def compute(x):
        found = {key: value.numpy() for key, value in function(**{name: x}).items()}
        questions = [key.removesuffix("label") for key in found if key.endswith("label")]
        columns = [_results(found, question) for question in questions]
        if questions == [""]:
            return columns[0]
        names = [question.removesuffix("_") for question in questions]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    if name == "text":
        return texts_in_batches(limits, compute, lengths)
    return arrays_in_batches(compute, inputs_of(function)[name].shape[1:])


def _results(found, question):
    columns = (found[question + name] for name in ("label", "probability", "labels", "probabilities"))
    return [
        Classified(label.decode(), float(best), dict(zip(strings(labels), probabilities.tolist(), strict=True)))
        for label, best, labels, probabilities in zip(*columns, strict=True)
    ]


def labels_of(result):
    """The label of a result, or a dict of labels for several questions."""
    return {name: one.label for name, one in result.items()} if isinstance(result, dict) else result.label


def labels_file(folder):
    """The file with the names of a run's classes, which only exists if it has classes."""
    return folder / "vocabulary" / "labels.txt"


def load_labels(folder):
    """The names of a run's classes."""
    from keras_seq import text

    missing = "the run does not classify, or the file was not copied with it. It has one class name per line."
    return load_part(labels_file(folder), text.load_labels, missing)


def _counted(shapes):
    """The numbers of classes of the outputs: "6", or "digit: 6; speaker: 4"."""
    return "; ".join(f"{name + ': ' if name else ''}{' x '.join(map(str, shape))}" for name, shape in shapes.items())


def _classes(logits, names, prefix):
    labels, probabilities = tf.constant(list(names)), tf.nn.softmax(tf.cast(logits, tf.float32))
    return {
        f"{prefix}label": tf.gather(labels, tf.argmax(probabilities, axis=1)),
        f"{prefix}probability": tf.reduce_max(probabilities, axis=1),
        f"{prefix}labels": tf.repeat(labels[None], tf.shape(logits)[0], axis=0),
        f"{prefix}probabilities": probabilities,
    }


def check_names(what, names):
    if isinstance(names, (str, bytes)) or not len(names):
        raise ValueError(f"`{what}` must be a list of names. Received: {names!r}")

"""Transcription of recordings."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf
from keras import ops

from keras_seq.decoding import ctc, get_search
from keras_seq.tasks.arrays import padded
from keras_seq.tasks.batching import halving
from keras_seq.tasks.results import Failure, Transcript, one_line
from keras_seq.tasks.run_folder import check_vocabulary, load_keras, load_single_vocabulary
from keras_seq.tasks.samples import array_batches
from keras_seq.tasks.search_options import as_config, ctc_options, find_constraints, from_config, longest
from keras_seq.tasks.search_options import get_search as search_of
from keras_seq.tasks.signatures import Call, Signature, inputs_of
from keras_seq.tasks.streaming import step_calls, stepping
from keras_seq.tasks.task import Array, Task, save_vocabularies
from keras_seq.tasks.tensors import input_specs
from keras_seq.tasks.text_ops import one_or_many, searched, written

MAX_LENGTH = 100  # default maximum of a transcript, in tokens
RATE = 8000  # for a model without a sampling rate
STEP_SAMPLES = 1000  # samples per step, in sources whose states are compared
AUDIO = tf.TensorSpec([None, None], tf.float32)
Recording = Array | str | os.PathLike[str]


class Transcription(Task[Recording, Sequence[Recording], str, Transcript | Failure]):
    """Transcribes recordings with a CTC model, or with a model that has `encode`, `decode` and a front end for sound.

    `transcribe(waveform (B, samples)) -> text, score, log_prob`, each `(B,)`, or `(B, R)`, best first, if the search
    returns several. Shorter recordings are padded with zeros, which `models.audio_front_end` recognizes as padding.
    A model that encodes and decodes also has `encode(waveform)`, `step` and `detokenize`: see `tasks.streaming`.
    If a layer of the model has a sampling rate, as `LogMel` does, there is also `describe() -> sampling_rate`, in
    hertz.

    In Python an input is a waveform `(samples,)` at the model's sampling rate, or a sound file, which is converted to
    it. An output is its text, and the details are `Transcript`.

    Args:
        model: a model that returns logits `(B, T, V)`, or has `encode` and `decode`.
        vocabulary: vocabulary of the text, with its `pad_id` as the blank. Or, with CTC, a list of labels: the first is
            label 1, 0 is the blank, and the text has a space between labels.
        max_length: maximum length of a text, the end token counted, if it is decoded token by token.
        options: options of `decoding.ctc`, or of `decoding.search`.
    Raises:
        ValueError: when it is exported, if the model does not return logits `(B, T, V)`, or has other labels.
    """

    name, verb, rank = "transcription", "transcribe", 1

    def __init__(self, model: Any, vocabulary: Any, *, max_length: int = MAX_LENGTH, **options: Any):
        super().__init__(model)
        self.max_length, self.options, self._given = max_length, options, vocabulary
        self.labels = None if hasattr(vocabulary, "detokenize") else list(vocabulary)
        self.vocabulary = vocabulary if self.labels is None else Labels(self.labels)
        self.resources, self.samples = ([vocabulary] if self.labels is None else []), None

    @property
    def sampling_rate(self) -> int | None:
        """Sampling rate in samples per second, or None if no layer of the model has it."""
        return sampling_rate(self.model)

    def predictor(self, *, batch_seconds: float = 120.0, max_seconds: float = 600.0, **options: Any):
        """Returns a function from waveforms, or sound files, to a `Transcript` or `Failure` for each.

        Args:
            batch_seconds: limit of a batch: number of rows times padded length.
            max_seconds: maximum length of a recording. Longer ones are refused.
            options: options of the search that override the task's, see `tasks.search_options`.
        """
        task = self.with_search(options) if options else self
        return transcribing(task.function("transcribe"), self.sampling_rate or RATE, batch_seconds, max_seconds)

    def with_search(self, options: Mapping[str, Any]) -> Self:
        """A copy of the task with another search.

        Args:
            options: options by name, see `tasks.search_options`.
        """
        if not hasattr(self.model, "encode"):
            return type(self)(self.model, self._given, max_length=self.max_length, **ctc_options(options, self.where))
        search = search_of({"search": "greedy", **options})
        if options.get("search", "greedy") == "greedy":
            search = "greedy"  # its score is log p
        arguments = {"search": search, "constraints": find_constraints(options, self.vocabulary)}
        length = longest(options)
        return type(self)(
            self.model, self._given, max_length=self.max_length if length is None else length, **arguments
        )

    def output(self, result):
        """The text of the transcript."""
        return result.text

    def config(self):
        options = dict(self.options)
        constraints = options.pop("constraints", ())
        if constraints:
            raise ValueError("`constraints` cannot be saved. Give them to the calls of the task.")
        if hasattr(self.model, "encode"):
            return {"max_length": self.max_length, "search": as_config(get_search(**options))}
        return {"max_length": self.max_length, **options}

    def _save_parts(self, folder):
        if self.labels is not None:
            raise ValueError("A run folder needs the vocabulary of a recognizer. Received: a list of labels")
        save_vocabularies(folder, {"vocabulary": self.vocabulary})

    @classmethod
    def load(cls, folder, file, options, model=None):
        """Opens a run folder, see `loading`."""
        model = load_keras(file) if model is None else model
        if not writes_down(model):
            raise ValueError(
                f"{file} is a {type(model).__name__}, not a speech recognizer: it has no `LogMel` layer, or does not "
                "return labels of frames. keras-seq transcribe takes models that recipes.speech trains for strings. "
                "Give another run folder."
            )
        vocabulary, options = load_single_vocabulary(folder), dict(options)
        if isinstance(options.get("search"), dict):
            options["search"] = from_config(options["search"])
        task = cls(model, vocabulary, **options)
        task.folder, task.file = folder, file
        size = model.target_vocabulary_size if hasattr(model, "encode") else model.output.shape[2]
        check_vocabulary(task, vocabulary, [size])
        return task

    def signatures(self):
        """Name -> `Signature`. The first one is the default."""
        model = self.model
        if hasattr(model, "encode"):
            return self._decoding()
        (spec,) = input_specs(model).values()
        shape, size = tuple(model.output.shape), self.vocabulary.size
        if len(shape) != 3 or shape[2] != size:
            raise ValueError(f"The model must return logits (B, T, {size}), one for each label. It returns: {shape}")

        def transcribe(waveform):
            logits = model(waveform, training=False)
            found = ctc(logits, tf.repeat(ops.shape(logits)[1], ops.shape(logits)[0]), **self.options)
            texts = written(self.vocabulary, found.tokens)
            return one_or_many({"text": texts, "score": found.scores, "log_prob": found.log_probs})

        return {"transcribe": Signature(transcribe, {"waveform": spec}), **_described(model)}

    def _decoding(self):
        model = self.model
        if self.labels is not None:
            raise ValueError("A model that encodes and decodes needs a vocabulary. Received: a list of labels")
        vocabulary, options = self.vocabulary, dict(self.options)
        constraints = options.pop("constraints", ())
        search = get_search(**options)

        def transcribe(waveform):
            numbered = search.for_examples(tf.range(tf.shape(waveform)[0]))
            given = {"max_length": self.max_length, "constraints": constraints}
            found = searched(model, vocabulary, waveform, numbered, **given)
            return one_or_many({name: found[name] for name in ("text", "score", "log_prob")})

        def read(waveform, max_length):
            first = tf.fill([tf.shape(waveform)[0], 1], vocabulary.start_id)
            return first, model.encode(waveform, max_length=max_length)

        steps = stepping(
            model,
            vocabulary,
            read,
            inputs={"waveform": AUDIO},
            room=self.max_length,
            example=lambda rows, steps: ops.ones((rows, steps * STEP_SAMPLES)),
        )
        return {"transcribe": Signature(transcribe, {"waveform": AUDIO}), **steps, **_described(model)}

    def calls(self, functions, samples):
        """The calls by which two processes are compared."""
        batches = array_batches(samples, inputs_of(functions["transcribe"]))
        yield from (Call("transcribe", batch) for batch in batches)
        if "encode" in functions:
            yield from step_calls(functions, batches[-1], self.vocabulary)
        if "describe" in functions:
            yield Call("describe", {})


def sampling_rate(model):
    """The sampling rate of a model's input in samples per second, from one of its layers, or None."""
    return next((layer.sampling_rate for layer in model._flatten_layers() if hasattr(layer, "sampling_rate")), None)


def writes_down(model):
    """Whether a model reads sound, and returns tokens or labels of frames."""
    if sampling_rate(model) is None:
        return False
    return hasattr(model, "encode") or len(getattr(getattr(model, "output", None), "shape", ())) == 3


def transcribing(function, rate, batch_seconds=120.0, max_seconds=600.0):
    """Returns a function from waveforms, or sound files, to `Transcript`s or `Failure`s, given an export's
    `transcribe`."""

    def compute(waveforms):
        found = function(waveform=tf.constant(padded(waveforms)))
        # If a beam returns several results, the first is the best.
        columns = [found[name].numpy().reshape(len(waveforms), -1)[:, 0] for name in ("text", "score", "log_prob")]
        rows = zip(*columns, strict=True)
        return [Transcript(text.decode("utf-8", "replace"), float(score), float(log)) for text, score, log in rows]

    def run(inputs):
        waveforms = [_waveform(one, rate, max_seconds) for one in inputs]
        results = [one if isinstance(one, Failure) else None for one in waveforms]
        rows = [row for row, one in enumerate(waveforms) if not isinstance(one, Failure)]
        rows.sort(key=lambda row: -len(waveforms[row]))
        while rows:
            count = max(1, int(batch_seconds * rate) // max(1, len(waveforms[rows[0]])))
            for row, result in halving(rows[:count], lambda some: compute([waveforms[row] for row in some])):
                results[row] = result
            rows = rows[count:]
        return results

    return run


def _waveform(source, rate, max_seconds):
    from keras_seq.data import read_audio

    if isinstance(source, str | os.PathLike):
        try:
            waveform = read_audio([source], rate, resample=True, mix_down=True).waveform(0)
        except (OSError, ValueError) as error:
            return Failure(one_line(error))
    else:
        waveform = np.asarray(source, "float32")
        if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
            return Failure(f"a recording must be an array (samples,) of finite numbers. Received: {waveform.shape}")
    seconds = len(waveform) / rate
    if seconds > max_seconds:
        name = f"{source}: " if isinstance(source, str | os.PathLike) else ""
        return Failure(f"{name}{seconds:,.1f} s are more than `max_seconds` {max_seconds:g}")
    return waveform


def _described(model):
    rate = sampling_rate(model)
    return {} if rate is None else {"describe": Signature(lambda: {"sampling_rate": tf.constant(rate)}, {})}


class Labels:
    """Labels as a vocabulary that only detokenizes: label i has the number i + 1, and 0 is the blank."""

    pad_id = 0

    def __init__(self, labels):
        self.names = ["", *labels]
        self.size = len(self.names)

    def detokenize(self, ids):
        """int `(B, T)` -> strings `(B,)`."""
        names = tf.ragged.boolean_mask(tf.gather(tf.constant(self.names), ids), ids != self.pad_id)
        return tf.strings.reduce_join(names, axis=1, separator=" ")

"""Tagging of words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_seq.models import best_tags
from keras_seq.tasks.batching import Limits, in_batches
from keras_seq.tasks.classification import check_names
from keras_seq.tasks.results import Failure, Tagged, strings
from keras_seq.tasks.run_folder import (
    check_vocabulary,
    input_sizes,
    load_keras,
    load_part,
    load_vocabulary,
    vocabulary_files,
)
from keras_seq.tasks.samples import SAMPLES, short, text_batches
from keras_seq.tasks.samples import strings as sample_strings
from keras_seq.tasks.signatures import STRINGS, Call, Signature
from keras_seq.tasks.task import Task, save_vocabularies
from keras_seq.tasks.text_ops import padded
from keras_seq.word_features import FEATURE_MARK, features_of

# Of the vocabularies in a run folder.
FILES = {"words": "words.words", "characters": "characters.characters", "features": "features.words"}


class Tagging(Task[str | bytes, Sequence[str | bytes | Sequence[str]], list[str], Tagged | Failure]):
    """Assigns a tag to each word.

    `tag(text (B,)) -> words (B, T), tags (B, T)`, strings, "" after the last word of a text. Words are separated by
    white space.

    `tag_words(words (B, T)) -> tags (B, T)`, for texts that are split into words already, "" after the last one. A word
    may have spaces in it, such as "10 000".

    In Python an input is a text, or a list of its words, and an output is the list of tags. The details are `Tagged`.

    Args:
        model: a model that returns logits `(B, T, N)`. A model with a CRF is decoded by Viterbi's algorithm.
        vocabulary: `text.Words`, one id per word.
        tags: names of the tags, in the order of their numbers.
        characters: vocabulary of the characters of words (None: the model does not read them).
        features: vocabulary of the features of words, `text.Words` (None: the model does not read any). A word is then
            given with its features: "pound￨NN".
    Raises:
        ValueError: for tags that are not a list. When it is exported: if the model has another number of tags, or
            returns neither logits `(B, T, N)` nor the tags themselves, as `models.best_tags(model)` does.
    """

    name, verb = "tagging", "tag"

    def __init__(
        self, model: Any, vocabulary: Any, tags: Sequence[str], *, characters: Any = None, features: Any = None
    ):
        super().__init__(model)
        check_names("tags", tags)
        self.vocabulary, self.tags, self.characters, self.features = vocabulary, list(tags), characters, features
        self.num_features = 0 if features is None else self._count_features()
        self.resources = [part for part in (vocabulary, characters, features) if part is not None]
        self.samples, self._decoded = SAMPLES, None
        self._check()

    def _check(self):
        output, count = self.model.output, len(self.tags)
        shape, whole = tuple(output.shape), "int" in output.dtype
        # Logits, the potentials of a CRF, or the tags themselves.
        if len(shape) != 2 if whole else (len(shape) not in (3, 4) or shape[-1] != count):
            raise ValueError(
                f"The model must return logits (B, T, {count}), one for each of `tags`, or the numbers of the "
                f"tags, as `models.best_tags(model)` does. It returns: {output.dtype} {shape}"
            )

    def _count_features(self):
        inputs = self.model.input
        if not isinstance(inputs, dict) or "features" not in inputs:
            raise ValueError(
                "`features` is the vocabulary of a model that reads features of words, such as "
                "`models.tagger(..., feature_vocabulary_size=...)`. This model does not read any."
            )
        return inputs["features"].shape[-1]

    def predictor(self, **limits):
        """Returns a function from texts, or lists of words, to a `Tagged` or `Failure` for each.

        Args:
            limits: fields of `batching.Limits`.
        """
        return tagging(self.function("tag_words"), Limits(**limits), self.num_features)

    def output(self, result):
        """The list of tags."""
        return result.tags

    def is_one(self, inputs):
        """Whether this is a text. A list is a list of inputs, each a text or a list of words."""
        return isinstance(inputs, str | bytes)

    def _save_parts(self, folder):
        from keras_seq import text

        vocabularies = {"words": self.vocabulary, "characters": self.characters, "features": self.features}
        save_vocabularies(folder, {name: part for name, part in vocabularies.items() if part is not None})
        text.save_labels(folder / "tags.txt", self.tags)

    @classmethod
    def load(cls, folder, file, options, model=None):
        """Opens a run folder, see `loading`."""
        tags = load_tags(folder)
        model = load_keras(file) if model is None else model
        files = vocabulary_files(folder)
        needed = [name for name in FILES if name == "words" or (isinstance(model.input, dict) and name in model.input)]
        missing = [FILES[name] for name in needed if name not in files]
        if missing:
            raise FileNotFoundError(
                f"{folder / 'vocabulary'} has no {' and no '.join(missing)}, which "
                f"{file.name} reads. Copy it from the folder that the model was trained in."
            )
        shape = getattr(getattr(model, "output", None), "shape", ())
        if len(shape) not in (3, 4) or shape[-1] != len(tags):
            raise ValueError(
                f"{file} returns {tuple(shape)}, but {tags_file(folder)} names {len(tags)} tags. A tagger returns one "
                "number for each tag and word. One of the two files is from another run."
            )
        vocabularies = {name: load_vocabulary(files[name]) for name in needed}
        task = cls(model, vocabularies.pop("words"), tags, **vocabularies, **options)
        task.folder, task.file = folder, file
        for name, vocabulary in {"words": task.vocabulary, **vocabularies}.items():
            check_vocabulary(task, vocabulary, input_sizes(model), name=FILES[name], between=" and ")
        return task

    def exported_model(self):
        """The model with the best tags as its output."""
        if self._decoded is None:
            self._decoded = self.model if "int" in self.model.output.dtype else best_tags(self.model)
        return self._decoded

    def signatures(self):
        """Name -> `Signature`. The first one is the default."""
        from keras_seq.text import split_features

        model = self.exported_model()
        whole = "int" in model.output.dtype

        def tags_of(words):
            """The tags of ragged words `(B, None)`, as wide as the longest row."""
            alone, features = words.values, None
            if self.features is not None:
                alone, features = split_features(alone, self.num_features)
            ids = padded(words.with_values(self.vocabulary.lookup(alone)), self.vocabulary.pad_id)
            inputs, width = {"words": ids}, tf.shape(ids)[1]
            if self.characters is not None:
                spelling = words.with_values(self.characters.tokenize(alone))  # (B, None, None)
                inputs["characters"] = _padded_words(spelling, width, self.characters.pad_id)
            if self.features is not None:
                marks = words.with_values(self.features.lookup(features))  # (B, None, F)
                inputs["features"] = _padded_features(marks, width, self.num_features, self.features.pad_id)
            found = model(inputs if len(inputs) > 1 else ids, training=False)
            found = found if whole else tf.argmax(found, axis=2)
            words = words.to_tensor("")  # (B, T)
            tags = tf.gather(tf.constant(self.tags), found[:, : tf.shape(words)[1]])
            return tf.where(words == "", "", tags)

        def tag(text):
            words = tf.strings.split(text)  # (B, None)
            return {"words": words.to_tensor(""), "tags": tags_of(words)}

        def tag_words(words):
            tags = tags_of(tf.RaggedTensor.from_tensor(words, padding=""))
            rest = tf.fill([tf.shape(words)[0], tf.shape(words)[1] - tf.shape(tags)[1]], "")
            return {"tags": tf.concat([tags, rest], axis=1)}

        words = tf.TensorSpec([None, None], tf.string)
        return {"tag": Signature(tag, {"text": STRINGS}), "tag_words": Signature(tag_words, {"words": words})}

    def calls(self, functions, samples):
        """The calls by which two processes are compared."""
        words = sample_strings(" ".join(short(samples)).split()[:20])
        halves = np.stack([words, np.roll(words, 1) + b" " + words]) if len(words) else np.empty((2, 0), object)
        texts = [Call("tag", {"text": batch}) for batch in text_batches(samples)]
        return [*texts, Call("tag_words", {"words": halves})]


def tagging(function, limits, num_features=0):
    """Returns a function from texts, or lists of words, to `Tagged` or `Failure`s, given an export's `tag_words`.

    A word without the number of features that the model reads is a `Failure`.
    """

    def tagged(rows):
        width = max(map(len, rows))
        words = [[word.encode() for word in row] + [b""] * (width - len(row)) for row in rows]
        tags = function(words=tf.constant(words, tf.string, (len(rows), width)))["tags"].numpy()
        return [Tagged(row, strings(found[: len(row)])) for row, found in zip(rows, tags, strict=True)]

    def compute(inputs):
        rows = [split(text) if isinstance(text, str | bytes) else list(text) for text in inputs]
        results = [_incomplete(row, num_features) for row in rows]
        complete = [number for number, failure in enumerate(results) if failure is None]
        lengths = [max(1, len(rows[number])) for number in complete]
        found = in_batches(lengths, limits, lambda numbers: tagged([rows[complete[number]] for number in numbers]))
        for number, result in zip(complete, found, strict=True):
            results[number] = result
        return results

    return compute


def _incomplete(words, num_features):
    """A `Failure` for the first word that has another number of features, or None."""
    for word in words if num_features else ():
        if len(features_of(word)) != num_features:
            example = FEATURE_MARK.join(["word", *["FEATURE"] * num_features])
            return Failure(
                f"{word!r} has {len(features_of(word))} features, where the model reads {num_features}. Give {example}"
            )
    return None


def split(text):
    """The words of a text. Only ASCII white space separates them, as in `text.Words`: not a no-break space."""
    return [word.decode() for word in (text if isinstance(text, bytes) else text.encode()).split()]


def tags_file(folder):
    """The file with the names of a run's tags, which only exists if it has tags."""
    return folder / "vocabulary" / "tags.txt"


def load_tags(folder):
    """The names of a run's tags."""
    from keras_seq import text

    missing = "the run does not tag words, or the file was not copied with it. It has one tag per line."
    return load_part(tags_file(folder), text.load_labels, missing)


def _padded_words(ids, width, pad_id):
    """Ragged ids of characters `(B, None, None)` -> `(B, width, C)`, C at least 1."""
    longest = tf.reduce_max(tf.concat([ids.values.row_lengths(), [1]], axis=0))
    shape = tf.stack([-1, tf.cast(width, longest.dtype), longest])
    return tf.ensure_shape(ids.to_tensor(pad_id, shape=shape), (None, None, None))


def _padded_features(ids, width, count, pad_id):
    """Ragged ids of features `(B, None, F)` -> `(B, width, F)`."""
    shape = tf.stack([-1, tf.cast(width, tf.int64), tf.constant(count, tf.int64)])
    return tf.ensure_shape(ids.to_tensor(pad_id, shape=shape), (None, None, count))

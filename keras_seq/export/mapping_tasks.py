"""What an export is for, when its model maps: classes of texts, sounds or clips, tags of words, forecasts, tensors."""

import keras
import numpy as np
import tensorflow as tf

from keras_seq.export.samples import SAMPLES, array_batches, short, strings, text_batches
from keras_seq.export.signatures import STRINGS, Signature, inputs_of
from keras_seq.export.tensors import NamedNest, input_specs, tables
from keras_seq.export.texts import padded, with_end
from keras_seq.export.verification import Call


class Classification:
    """Which class a text belongs to, or a sound, or a clip.

    `classify(text (B,)) -> label (B,), probability (B,)`, the likeliest class; `labels (B, N)`, `probabilities (B, N)`,
    all of them, the same labels in each row. Where the model reads no text, the input has the name and shape that it
    has in the model: `waveform (B, samples)`, `frames (B, T, height, width, channels)`. Where it answers several
    questions, all outputs bear the name of theirs: `digit_label`, `digit_probability`, ...

    Args:
        vocabulary: of the text; None: the model reads no text.
        labels: the names of the classes, in the order of their numbers; a dict of such lists where the model answers
            several questions.
        add_end: whether the end token follows each text, as in `vocabulary.encoded()`.
    Raises:
        ValueError: for labels that are no lists; and when it is exported, if the model has not as many classes.
    """

    def __init__(self, vocabulary, labels, *, add_end=True):
        self.vocabulary, self.add_end = vocabulary, add_end
        self.labels = labels if isinstance(labels, dict) else {"": labels}
        for names in self.labels.values():
            _check_names("labels", names)
        self.resources = [] if vocabulary is None else [vocabulary]
        self.samples = None if vocabulary is None else SAMPLES

    def signatures(self, model):
        """Name -> `Signature`; the first one is the default."""
        outputs = model.output if isinstance(model.output, dict) else {"": model.output}
        shapes = {name: tuple(x.shape[1:]) for name, x in outputs.items()}
        if shapes != {name: (len(names),) for name, names in self.labels.items()}:
            raise ValueError(
                f"`labels` must name the classes of the model's outputs, {_counted(shapes)}. Received: "
                + "; ".join(f"{name + ': ' if name else ''}{tuple(names)}" for name, names in self.labels.items())
            )

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

    def calls(self, functions, samples):
        """What is tried to compare two processes."""
        if self.vocabulary is not None:
            return [Call("classify", {"text": batch}) for batch in text_batches(samples)]
        return [Call("classify", batch) for batch in array_batches(samples, inputs_of(functions["classify"]))]


def _counted(shapes):
    """How many classes the outputs have: "6", or "digit: 6; speaker: 4"."""
    return "; ".join(f"{name + ': ' if name else ''}{' x '.join(map(str, shape))}" for name, shape in shapes.items())


def _classes(logits, names, prefix):
    labels, probabilities = tf.constant(list(names)), tf.nn.softmax(tf.cast(logits, tf.float32))
    return {
        f"{prefix}label": tf.gather(labels, tf.argmax(probabilities, axis=1)),
        f"{prefix}probability": tf.reduce_max(probabilities, axis=1),
        f"{prefix}labels": tf.repeat(labels[None], tf.shape(logits)[0], axis=0),
        f"{prefix}probabilities": probabilities,
    }


def _check_names(what, names):
    if isinstance(names, (str, bytes)) or not len(names):
        raise ValueError(f"`{what}` must be a list of names. Received: {names!r}")


class Tagging:
    """A tag for each word.

    `tag(text (B,)) -> words (B, T), tags (B, T)`, strings, "" where a text has no more words. Words are what white
    space separates.

    `tag_words(words (B, T)) -> tags (B, T)`, of texts that are split into words already, "" behind the last one: a
    word may have spaces in it, such as "10 000".

    Args:
        vocabulary: `text.Words`, one id a word.
        tags: their names, in the order of their numbers.
        characters: the vocabulary of the characters that words are made of; None: the model reads words alone.
    Raises:
        ValueError: for tags that are no list; and when it is exported, if the model has another number of them, or
            gives neither logits `(B, T, N)` nor the tags themselves, as `models.best_tags(model)` does.
    """

    def __init__(self, vocabulary, tags, *, characters=None):
        _check_names("tags", tags)
        self.vocabulary, self.tags, self.characters = vocabulary, list(tags), characters
        self.resources = [vocabulary] + [characters] * (characters is not None)
        self.samples = SAMPLES

    def signatures(self, model):
        """Name -> `Signature`; the first one is the default."""
        shape, whole = model.output.shape, "int" in model.output.dtype
        if len(shape) != (2 if whole else 3) or (not whole and shape[2] != len(self.tags)):
            raise ValueError(
                f"The model must give logits (B, T, {len(self.tags)}), one for each of `tags`, or the numbers of the "
                f"tags, as `models.best_tags(model)` does. It gives: {model.output.dtype} {tuple(shape)}"
            )

        def tags_of(words):
            """Of ragged words `(B, None)`, as wide as the longest row."""
            ids = padded(words.with_values(self.vocabulary.lookup(words.values)), self.vocabulary.pad_id)
            inputs = ids
            if self.characters is not None:
                spelling = words.with_values(self.characters.tokenize(words.values))  # (B, None, None)
                inputs = {"words": ids, "characters": _padded_words(spelling, tf.shape(ids)[1], self.characters.pad_id)}
            found = model(inputs, training=False)
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
        """What is tried to compare two processes."""
        words = strings(" ".join(short(samples)).split()[:20])
        halves = np.stack([words, np.roll(words, 1) + b" " + words]) if len(words) else np.empty((2, 0), object)
        texts = [Call("tag", {"text": batch}) for batch in text_batches(samples)]
        return [*texts, Call("tag_words", {"words": halves})]


def _padded_words(ids, width, pad_id):
    """Ragged ids of characters `(B, None, None)` -> `(B, width, C)`, C at least 1."""
    longest = tf.reduce_max(tf.concat([ids.values.row_lengths(), [1]], axis=0))
    shape = tf.stack([-1, tf.cast(width, longest.dtype), longest])
    return tf.ensure_shape(ids.to_tensor(pad_id, shape=shape), (None, None, None))


class Forecasting:
    """The future of series.

    `forecast(past (B, T, C)) -> forecast (B, H, targets)`, or `(B, H, targets, Q)` with quantiles; where the model
    takes more than the past, `known_future (B, H, K)` and `static (B, F)` too. With `look_back` there is also
    `describe() -> columns, targets, look_back, horizon, quantiles`, which says what these numbers are.

    Args:
        scaler: of the past: what it gives the model is `scaler.scaled(past)`; None: the past as it is.
        target_scaler: of the targets: what it makes of the forecast is `target_scaler.inverse(forecast)`; None:
            `scaler`, whose columns must then be the targets.
        look_back: steps of the past that the model reads; there must then be a scaler, which has the names.
        quantiles: those that the model forecasts, if it does.
    Raises:
        ValueError: if there is no name for what is to be described.
    """

    def __init__(self, scaler=None, target_scaler=None, *, look_back=None, quantiles=()):
        if look_back is not None and scaler is None:
            raise ValueError("`look_back` asks for a description, and only a `scaler` has names. Received: None")
        self.scaler, self.target_scaler = scaler, target_scaler or scaler
        self.look_back, self.quantiles = look_back, tuple(quantiles)
        self.resources, self.samples = [], None

    def signatures(self, model):
        """Name -> `Signature`; the first one is the default."""
        lone = not isinstance(model.input, dict)

        def forecast(**given):
            if self.scaler is not None:
                given["past"] = self.scaler.scaled(given["past"])
            y = tf.convert_to_tensor(model(given["past"] if lone else given, training=False))
            if self.target_scaler is None:
                return {"forecast": y}
            if y.shape.rank == 3:
                return {"forecast": self.target_scaler.inverse(y)}
            y = self.target_scaler.inverse(tf.transpose(y, (0, 1, 3, 2)))  # (B, H, Q, targets)
            return {"forecast": tf.transpose(y, (0, 1, 3, 2))}

        def describe():
            return {
                "columns": tf.constant(list(self.scaler.columns)),
                "targets": tf.constant(list(self.target_scaler.columns)),
                "look_back": tf.constant(self.look_back),
                "horizon": tf.constant(model.output.shape[1]),
                "quantiles": tf.constant(self.quantiles, tf.float32),
            }

        specs = input_specs(model)
        found = {"forecast": Signature(forecast, {"past": next(iter(specs.values()))} if lone else specs)}
        return found if self.look_back is None else {**found, "describe": Signature(describe, {})}

    def calls(self, functions, samples):
        """What is tried to compare two processes."""
        calls = [Call("forecast", batch) for batch in array_batches(samples, inputs_of(functions["forecast"]))]
        return calls if self.look_back is None else [*calls, Call("describe", {})]


class Tensors:
    """Whatever a model computes when it is called.

    `serve(...)`: inputs and outputs are tensors, by the names of the model's own dicts; a lone one is `inputs` or
    `outputs`, those of a list `inputs_0`, `inputs_1`, ... So a model that takes its state and gives it streams.

    Args:
        example: what the model is called with, an array or a nest of arrays, of which the first axis, the batch, may
            have any size; None: a functional model, which knows its shapes itself.
    """

    def __init__(self, example=None):
        self.resources, self.samples, self.inputs = [], None, None
        if example is not None:
            self.inputs = NamedNest(keras.tree.map_structure(np.asarray, example), "inputs")
            rows = min(len(x) for x in self.inputs.flat.values())
            self.samples = [{name: x[row] for name, x in self.inputs.flat.items()} for row in range(rows)]

    def signatures(self, model):
        """Name -> `Signature`; the first one is the default."""
        self.resources = tables(model)
        names = self.inputs or NamedNest(model.input, "inputs")
        specs = {name: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for name, x in names.flat.items()}

        def serve(**given):
            return NamedNest(model(names.nest(given), training=False), "outputs").flat

        return {"serve": Signature(serve, specs)}

    def calls(self, functions, samples):
        """What is tried to compare two processes."""
        return [Call("serve", batch) for batch in array_batches(samples, inputs_of(functions["serve"]))]

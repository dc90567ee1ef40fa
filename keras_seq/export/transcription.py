"""What an export is for, when its model writes down what it hears."""

import tensorflow as tf
from keras import ops
from keras.utils import pad_sequences

from keras_seq.decoding import ctc, find_search
from keras_seq.export.samples import array_batches
from keras_seq.export.signatures import Signature, inputs_of
from keras_seq.export.stepping import step_calls, stepping
from keras_seq.export.tensors import input_specs
from keras_seq.export.texts import one_or_many, searched, written
from keras_seq.export.verification import Call

MAX_LENGTH = 100  # tokens of a transcript, unless told otherwise
STEP_SAMPLES = 1000  # of a waveform, for each step of a source whose states are compared
AUDIO = tf.TensorSpec([None, None], tf.float32)


class Transcription:
    """Sound into text, by a model with CTC, or by one with `encode` and `decode` that a front end reads for.

    `transcribe(waveform (B, samples)) -> text, score, log_prob`, each `(B,)`, or `(B, R)`, best first, where the search
    returns several. Shorter recordings are padded with zeros, which is how `models.audio_front_end` knows them.
    A model that encodes and decodes also has `encode(waveform)`, `step` and `detokenize`: see `export.stepping`.
    Where a layer of the model knows it, as `LogMel` does, there is also `describe() -> sample_rate`, samples a second.

    Args:
        vocabulary: of the text, its `pad_id` the blank; or, with CTC, a list of labels: the first is label 1, 0 being
            the blank, and the text has a space between them.
        max_length: of a text, the end token counted, where it is decoded token by token.
        options: of `decoding.ctc`, or of `decoding.search`.
    Raises:
        ValueError: when it is exported, if the model gives no logits `(B, T, V)`, or other labels.
    """

    def __init__(self, vocabulary, *, max_length=MAX_LENGTH, **options):
        self.max_length, self.options = max_length, options
        self.labels = None if hasattr(vocabulary, "detokenize") else list(vocabulary)
        self.vocabulary = vocabulary if self.labels is None else Labels(self.labels)
        self.resources, self.samples = ([vocabulary] if self.labels is None else []), None

    def signatures(self, model):
        """Name -> `Signature`; the first one is the default."""
        if hasattr(model, "encode"):
            return self._decoding(model)
        (spec,) = input_specs(model).values()
        shape, size = tuple(model.output.shape), self.vocabulary.size
        if len(shape) != 3 or shape[2] != size:
            raise ValueError(f"The model must give logits (B, T, {size}), one for each label. It gives: {shape}")

        def transcribe(waveform):
            logits = model(waveform, training=False)
            found = ctc(logits, tf.repeat(ops.shape(logits)[1], ops.shape(logits)[0]), **self.options)
            texts = written(self.vocabulary, found.tokens)
            return one_or_many({"text": texts, "score": found.scores, "log_prob": found.log_probs})

        return {"transcribe": Signature(transcribe, {"waveform": spec}), **_described(model)}

    def transcriber(self, model, batch_size=32):
        """The function from waveforms, float arrays `(samples,)`, to their texts: what is exported, of one trace.

        Args:
            model: it may be trained further; each call takes its weights as they are.
            batch_size: recordings worked on together, those of like length.
        """
        signature = self.signatures(model)["transcribe"]
        compute = tf.function(
            lambda waveform: signature.function(waveform=waveform)["text"],
            input_signature=[signature.inputs["waveform"]],
            autograph=False,
        )

        def transcribe(waveforms):
            order = sorted(range(len(waveforms)), key=lambda row: len(waveforms[row]))
            found = {}
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = pad_sequences([waveforms[row] for row in rows], dtype="float32", padding="post")
                texts = compute(batch).numpy().reshape(len(rows), -1)[:, 0]  # of several, the best
                found |= zip(rows, texts, strict=True)
            return [found[row].decode() for row in range(len(waveforms))]

        return transcribe

    def _decoding(self, model):
        if self.labels is not None:
            raise ValueError("A model that encodes and decodes needs a vocabulary. Received: a list of labels")
        vocabulary, options = self.vocabulary, dict(self.options)
        constraints = options.pop("constraints", ())
        search = find_search(**options)

        def transcribe(waveform):
            numbered = search.for_sentences(tf.range(tf.shape(waveform)[0]))
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
        """What is tried to compare two processes."""
        batches = array_batches(samples, inputs_of(functions["transcribe"]))
        yield from (Call("transcribe", batch) for batch in batches)
        if "encode" in functions:
            yield from step_calls(functions, batches[-1], self.vocabulary)
        if "describe" in functions:
            yield Call("describe", {})


def sample_rate(model):
    """Samples a second of what a model hears, as one of its layers has it; None where none has."""
    return next((layer.sampling_rate for layer in model._flatten_layers() if hasattr(layer, "sampling_rate")), None)


def _described(model):
    rate = sample_rate(model)
    return {} if rate is None else {"describe": Signature(lambda: {"sample_rate": tf.constant(rate)}, {})}


class Labels:
    """Labels as a vocabulary that only writes: label i is number i + 1, and 0 is the blank."""

    pad_id = 0

    def __init__(self, labels):
        self.names = ["", *labels]
        self.size = len(self.names)

    def detokenize(self, ids):
        """int `(B, T)` -> strings `(B,)`."""
        names = tf.ragged.boolean_mask(tf.gather(tf.constant(self.names), ids), ids != self.pad_id)
        return tf.strings.reduce_join(names, axis=1, separator=" ")

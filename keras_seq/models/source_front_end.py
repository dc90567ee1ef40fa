"""The input of encoder-decoder models: ids to embed, or a front end that maps other sources to vectors."""

import keras
from keras import ops

from keras_seq.layers import get_keras_mask, padding_mask


def check_source(source_vocabulary_size, target_vocabulary_size, front_end, units=None):
    """Raises a `ValueError` unless there is either a vocabulary or a front end, with the options that it requires.

    Args:
        units: required width of the front end's vectors, or None.
    """
    if (source_vocabulary_size is None) == (front_end is None):
        raise ValueError(
            "A source has ids or a front end: pass either `source_vocabulary_size` or `source_front_end`. "
            f"Received: {source_vocabulary_size} and {front_end}"
        )
    if front_end is None:
        return
    if target_vocabulary_size is None:
        raise ValueError("A `source_front_end` needs a `target_vocabulary_size`. Received: None")
    if len(getattr(front_end, "inputs", None) or ()) != 1 or len(front_end.outputs[0].shape) != 3:
        raise ValueError(
            "A `source_front_end` must be a functional `keras.Model` from one input to vectors (B, S, D). "
            f"Received: {front_end}"
        )
    if units not in (None, front_end.outputs[0].shape[-1]):
        raise ValueError(
            f"The front end's vectors must be as wide as `units`={units}. Received: {front_end.outputs[0].shape[-1]}"
        )


def source_spec(model):
    """The symbolic source with which to build a model."""
    if model.source_front_end is None:
        return keras.KerasTensor((None, None), "int32")
    given = model.source_front_end.inputs[0]
    return keras.KerasTensor(given.shape, given.dtype)


def build_by_call(model, inputs):
    """Builds the layers of a model with a symbolic call.

    If all inputs are ids, on TensorFlow the model is called with two tokens instead: this is faster than a graph, which
    would not be reused.

    Returns:
        The spec of the output, a KerasTensor `(None, None, V)`.
    """
    ids = all("int" in x.dtype for x in keras.tree.flatten(inputs))
    if ids and keras.backend.backend() == "tensorflow":
        logits = model.call(keras.tree.map_structure(lambda x: ops.ones((1, 2), "int32"), inputs))
    else:
        logits = model.symbolic_call(inputs)
    return keras.KerasTensor((None, None, logits.shape[-1]), keras.backend.standardize_dtype(logits.dtype))


def source_vectors(model, source, training):
    """The input of the encoder: `(x, mask)`, float `(B, S, D)` and bool `(B, S)`."""
    if model.source_front_end is None:
        return model.source_embedding(source), padding_mask(source, model.pad_id)
    x = model.source_front_end(source, training=training)
    return x, get_keras_mask(x)


def serialized_front_end(front_end):
    return None if front_end is None else keras.saving.serialize_keras_object(front_end)


def with_front_end(config):
    """The configuration, with the front end deserialized."""
    return {**config, "source_front_end": keras.saving.deserialize_keras_object(config.get("source_front_end"))}

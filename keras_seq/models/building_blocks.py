"""Parts of the functions that build models: they embed ids, encode sequences and pool them."""

import keras
import numpy as np

from keras_seq.layers import ARCHITECTURES, POOLINGS, MaskedConv1D, TokenEmbedding, sequence_backbone
from keras_seq.layers.recurrent_stack import registered_class, suggestion

BASELINES = ("feedforward", "cnn")


def embed(tokens, vocabulary_size, embedding_dim, *, vectors=None, train_vectors=True, scale=False, dropout, pad_id):
    """Embeds ids, with dropout.

    Args:
        tokens: symbolic int `(B, T)`.
        vectors: initial embeddings, float `(vocabulary_size, embedding_dim)`, or None.
        train_vectors: whether to train `vectors` further.
    Returns:
        symbolic float `(B, T, embedding_dim)`, with its mask.
    Raises:
        ValueError: if `vectors` has another shape.
    """
    if vectors is not None and np.shape(vectors) != (vocabulary_size, embedding_dim):
        raise ValueError(
            f"`vectors` must be ({vocabulary_size}, {embedding_dim}), one for each id. Received: {np.shape(vectors)}"
        )
    trainable = vectors is None or train_vectors
    embedding = TokenEmbedding(
        vocabulary_size, embedding_dim, pad_id=pad_id, scale=scale, trainable=trainable, name="embedding"
    )
    x = embedding(tokens)
    if vectors is not None:
        embedding.embeddings.assign(np.asarray(vectors, "float32"))
    return keras.layers.Dropout(dropout, name="embedding_dropout")(x)


def check_architecture(architecture, names):
    """Raises a `ValueError` if a name is neither one of these nor that of a registered cell."""
    known = not isinstance(architecture, str) or architecture in names
    if not known and not registered_class(architecture):
        raise ValueError(
            f"`architecture` must be one of {names}, or a registered cell. Received: {architecture!r}"
            f"{suggestion(architecture, names)}"
        )


def encode_sequence(
    x, architecture, units, num_layers, *, bidirectional, dropout, num_heads=4, kernel_size=5, architecture_options=None
):
    """Encodes a sequence with an architecture.

    Args:
        x: symbolic float `(B, T, Dx)`, with its mask.
        architecture: one of `ARCHITECTURES`, a registered cell, or a baseline: "cnn", convolutions over `kernel_size`
            steps, or "feedforward", which processes each step separately.
        bidirectional: whether steps depend on later steps.
    Returns:
        `(x, states)`: symbolic float `(B, T, units)`, and the final states of a recurrent stack, else empty.
    Raises:
        ValueError: if the architecture is unknown.
    """
    check_architecture(architecture, (*ARCHITECTURES, *BASELINES))
    if not (architecture_options or {}).get("return_state", True):
        raise ValueError(
            "`architecture_options` must keep the stack's state, which is pooled. Received: return_state=False"
        )
    if architecture in BASELINES:
        size, padding = (kernel_size if architecture == "cnn" else 1), ("same" if bidirectional else "causal")
        for i in range(num_layers):
            x = MaskedConv1D(units, size, padding=padding, activation="relu", name=f"{architecture}_{i}")(x)
            x = keras.layers.Dropout(dropout, name=f"dropout_{i}")(x)
        return x, []
    if architecture == "transformer" and x.shape[-1] != units:
        x = keras.layers.Dense(units, name="projection")(x)
    backbone = sequence_backbone(
        architecture,
        units,
        num_layers,
        bidirectional=bidirectional,
        dropout=dropout,
        num_heads=num_heads,
        architecture_options=architecture_options,
        name="encoder",
    )
    return backbone(x)


def check_pooling(pooling):
    """Raises a `ValueError` if a name is not in `POOLINGS`."""
    if pooling not in POOLINGS:
        raise ValueError(f"`pooling` must be one of {tuple(POOLINGS)}. Received: {pooling!r}")


def pool(x, states, pooling):
    """Pools a sequence into one vector: symbolic `(B, T, D)` to `(B, D)`.

    Args:
        states: states from `encode_sequence`. "last" takes the final ones, if any: those of a bidirectional stack cover
            the whole sequence, whereas the backward half of its last step does not.
        pooling: a name of `POOLINGS`.
    Raises:
        ValueError: if the name is not one of these.
    """
    check_pooling(pooling)
    if pooling == "last" and states:
        return states[-1][0]
    return POOLINGS[pooling](name="pooling")(x)

"""What the functions that build models share: from ids to vectors, from vectors to vectors that know their context."""

import keras
import numpy as np

from keras_seq.layers import ARCHITECTURES, POOLINGS, MaskedConv1D, TokenEmbedding, sequence_backbone
from keras_seq.layers.recurrent_stack import registered_class, suggestion

BASELINES = ("feedforward", "cnn")


def embed(tokens, vocabulary_size, embedding_dim, *, vectors=None, train_vectors=True, scale=False, dropout, pad_id):
    """Embeds ids, with dropout.

    Args:
        tokens: symbolic int `(B, T)`.
        vectors: float `(vocabulary_size, embedding_dim)` to begin with, or None.
        train_vectors: whether these are trained further.
    Returns:
        symbolic float `(B, T, embedding_dim)`, with its mask.
    Raises:
        ValueError: for `vectors` of another shape.
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
    """Raises a `ValueError` for a name that is not of these and that no cell is registered under."""
    known = not isinstance(architecture, str) or architecture in names
    if not known and not registered_class(architecture):
        raise ValueError(
            f"`architecture` must be one of {names}, or a registered cell. Received: {architecture!r}"
            f"{suggestion(architecture, names)}"
        )


def encode_sequence(
    x, architecture, units, num_layers, *, bidirectional, dropout, num_heads=4, kernel_size=5, architecture_options=None
):
    """Lets the steps of a sequence know each other, as the architecture has it.

    Args:
        x: symbolic float `(B, T, Dx)`, with its mask.
        architecture: one of `ARCHITECTURES`, a registered cell, or a baseline: "cnn", convolutions over `kernel_size`
            steps, or "feedforward", which looks at each step by itself.
        bidirectional: whether steps know those after them.
    Returns:
        `(x, states)`: symbolic float `(B, T, units)`, and the final states of a recurrent stack, else empty.
    Raises:
        ValueError: for an unknown architecture.
    """
    check_architecture(architecture, (*ARCHITECTURES, *BASELINES))
    if not (architecture_options or {}).get("return_state", True):
        raise ValueError(
            "`architecture_options` must leave the stack its state, which is pooled. Received: return_state=False"
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
    """Raises a `ValueError` for a name that is not of `POOLINGS`."""
    if pooling not in POOLINGS:
        raise ValueError(f"`pooling` must be one of {tuple(POOLINGS)}. Received: {pooling!r}")


def pool(x, states, pooling):
    """One vector of a sequence: symbolic `(B, T, D)` to `(B, D)`.

    Args:
        states: as `encode_sequence` returns them. Their last ones are what "last" takes where there are any: those of a
            bidirectional stack have read all of the sequence, whereas the backward half of its last step has not.
        pooling: a name of `POOLINGS`.
    Raises:
        ValueError: for another name.
    """
    check_pooling(pooling)
    if pooling == "last" and states:
        return states[-1][0]
    return POOLINGS[pooling](name="pooling")(x)

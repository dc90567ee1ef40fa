"""Models that predict one class for each text."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_seq.layers import MaskedConv1D, MaxPooling, MeanPooling
from keras_seq.models.building_blocks import check_pooling, embed, encode_sequence, pool
from keras_seq.models.numbers import check_counts, check_rates


def classifier(
    vocabulary_size: int,
    num_classes: int,
    *,
    architecture: str | type = "lstm",
    units: int = 128,
    num_layers: int = 1,
    bidirectional: bool = True,
    pooling: str = "attention",
    embedding_dim: int | None = None,
    vectors: np.ndarray | None = None,
    train_vectors: bool = True,
    dropout: float = 0.3,
    num_heads: int = 4,
    windows: Sequence[int] = (3, 4, 5),
    architecture_options: Mapping[str, Any] | None = None,
    pad_id: int = 0,
    name: str = "classifier",
) -> keras.Model:
    """A model that predicts the class of a sequence of ids. Compile it with a cross-entropy `from_logits`.

    Args:
        vocabulary_size: number of ids, V.
        num_classes: number of classes, N.
        architecture: one of `layers.ARCHITECTURES`, a registered cell, or a baseline. "cnn": `units` convolutions over
            each of the `windows`, and the maximum of each over the text. "feedforward": the mean of the embeddings,
            through `num_layers` dense layers.
        units: width, D. Kim 2014 uses 100, with embeddings of width 300 and a dropout of 0.5.
        num_layers: number of layers. "cnn" has one.
        bidirectional: whether each step depends on later steps.
        pooling: pooling of the steps into one vector: "attention", "mean", "max" or "last". Unused by the baselines.
            "last" takes the final states of both directions of a recurrent architecture.
        embedding_dim: width of the embeddings. None: that of `vectors`, else `units`.
        vectors: initial embeddings, float `(V, embedding_dim)`. None: random ones.
        train_vectors: whether to train `vectors` further.
        dropout: rate of dropout on the embeddings, between layers and before the scores.
        num_heads: number of attention heads of a Transformer.
        windows: numbers of tokens that the convolutions of "cnn" cover.
        architecture_options: more arguments of the `RecurrentStack` or `TransformerStack`, as a dict.
        pad_id: id of padding, on the right.
    Returns:
        a `keras.Model` from int `(B, T)` to logits `(B, N)`.
    Raises:
        ValueError: if an option has an invalid value.
    Example:
        >>> model = models.classifier(100, 3, architecture="gru", units=8)
        >>> tuple(model(np.array([[5, 6, 7], [8, 9, 0]])).shape)
        (2, 3)
    Source: attention: Yang et al. 2016, aclanthology.org/N16-1174. "cnn": Kim 2014, arXiv:1408.5882. "feedforward":
        Iyyer et al. 2015, aclanthology.org/P15-1162.
    """
    check_counts(vocabulary_size=vocabulary_size, num_classes=num_classes, units=units, num_layers=num_layers)
    check_counts(embedding_dim=embedding_dim, num_heads=num_heads)
    check_rates(dropout=dropout)
    if architecture == "cnn":
        if not windows:
            raise ValueError(f"`windows` must not be empty. Received: {windows!r}")
        for window in windows:
            check_counts(windows=window)
    elif architecture != "feedforward":
        check_pooling(pooling)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    if embedding_dim is None:
        embedding_dim = units if vectors is None else vectors.shape[-1]
    x = embed(
        tokens,
        vocabulary_size,
        embedding_dim,
        vectors=vectors,
        train_vectors=train_vectors,
        scale=architecture == "transformer" and vectors is None,
        dropout=dropout,
        pad_id=pad_id,
    )
    if architecture == "cnn":
        convolutions = [MaskedConv1D(units, size, activation="relu", name=f"window_{size}")(x) for size in windows]
        maxima = [MaxPooling(name=f"maximum_{size}")(y) for size, y in zip(windows, convolutions, strict=True)]
        x = keras.layers.Concatenate(name="pooling")(maxima) if len(maxima) > 1 else maxima[0]
    elif architecture == "feedforward":
        x = MeanPooling(name="pooling")(x)
        for i in range(num_layers):
            x = keras.layers.Dropout(dropout, name=f"dropout_{i}")(x) if i else x
            x = keras.layers.Dense(units, activation="relu", name=f"feedforward_{i}")(x)
    else:
        steps = {"bidirectional": bidirectional, "dropout": dropout, "num_heads": num_heads}
        steps |= {"architecture_options": architecture_options}
        x = pool(*encode_sequence(x, architecture, units, num_layers, **steps), pooling)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(tokens, keras.layers.Dense(num_classes, name="logits")(x), name=name)

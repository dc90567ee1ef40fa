"""Models that predict the next frame of binary features, such as the notes of a piano roll."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_seq.layers import ARCHITECTURES, sequence_backbone
from keras_seq.layers.masks import at_least_float32
from keras_seq.models.building_blocks import check_architecture
from keras_seq.models.functional import functional
from keras_seq.models.numbers import check_counts, check_rates

_LEAST_SHARE = 1e-4  # log-odds of -9: less frequent features get this initial bias


def binary_frame_predictor(
    num_features: int,
    *,
    architecture: str | type = "lstm",
    units: int = 128,
    num_layers: int = 1,
    feature_shares: np.ndarray | None = None,
    input_dropout: float = 0.0,
    dropout: float = 0.3,
    num_heads: int = 4,
    architecture_options: Mapping[str, Any] | None = None,
    name: str = "binary_frame_predictor",
) -> keras.Model:
    """A model that predicts the next frame after each frame. The features of a frame are predicted independently of
    each other, given the frames before.

        model = binary_frame_predictor(88)
        model.compile("adam", losses.FrameCrossentropy(), weighted_metrics=[metrics.FrameLoss()])
        model.fit(rolls[:, :-1], rolls[:, 1:], sample_weight=is_real[:, 1:])
        notes = probabilities(model).predict(rolls)

    Args:
        num_features: number of features of a frame, F.
        architecture: one of `layers.ARCHITECTURES`, or a registered cell.
        units: width, D.
        num_layers: number of layers.
        feature_shares: share of the training frames in which each feature is 1, `(F,)`. Their log-odds are the initial
            bias of the logits. None: a bias of 0.
        input_dropout: rate of dropout on the features.
        dropout: rate of dropout between layers and before the logits.
        num_heads: number of attention heads of a Transformer.
        architecture_options: more arguments of the `RecurrentStack` or `TransformerStack`, as a dict.
    Returns:
        a `keras.Model` from float `(B, T, F)` to logits `(B, T, F)`. No frame depends on later ones, so padding on the
        right needs no mask. Give its labels the weight 0.
    Raises:
        ValueError: if an option has an invalid value.
    Source: Boulanger-Lewandowski et al. 2012, arXiv:1206.6392; Chung et al. 2014, arXiv:1412.3555.
    """
    check_counts(num_features=num_features, units=units, num_layers=num_layers, num_heads=num_heads)
    check_rates(input_dropout=input_dropout, dropout=dropout)
    check_architecture(architecture, ARCHITECTURES)
    frames = keras.Input((None, num_features), name="frames")
    x = keras.layers.Dropout(input_dropout, name="input_dropout")(frames)
    if architecture == "transformer":
        x = keras.layers.Dense(units, name="projection")(x)
    backbone = sequence_backbone(
        architecture,
        units,
        num_layers,
        dropout=dropout,
        num_heads=num_heads,
        architecture_options=architecture_options,
        name="backbone",
    )
    x, _ = backbone(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    logits = keras.layers.Dense(num_features, name="logits")
    model = keras.Model(frames, logits(x), name=name)
    if feature_shares is not None:
        logits.bias.assign(_log_odds(feature_shares, num_features))
    return model


def probabilities(model: keras.Model) -> keras.Model:
    """A model that returns the probability of each feature, with the layers and weights of a `binary_frame_predictor`.

    Returns:
        a `keras.Model` from float `(B, T, F)` to float32 `(B, T, F)`: at each step the probability that each feature
        of the next frame is 1.
    """
    model = functional(model)
    exact = at_least_float32(keras.config.dtype_policy().compute_dtype)
    outputs = keras.layers.Activation("sigmoid", name="probabilities", dtype=exact)(model.output)
    return keras.Model(model.input, outputs, name=f"{model.name}_probabilities")


def _log_odds(shares, num_features):
    shares = np.asarray(shares, "float64")
    if shares.shape != (num_features,) or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(
            f"`feature_shares` must be a number from 0 to 1 for each of {num_features} features. Received: shape "
            f"{shares.shape}, {shares.min(initial=0):g} to {shares.max(initial=0):g}"
        )
    shares = np.clip(shares, _LEAST_SHARE, 1 - _LEAST_SHARE)
    return np.log(shares / (1 - shares)).astype("float32")

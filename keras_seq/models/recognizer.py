"""Models that map sound to classes or labels."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_seq.layers import (
    BlankPadding,
    ConvSubsampling,
    LogMel,
    ReversibleNormalization,
    SpecAugment,
    TrailingPaddingMask,
)
from keras_seq.models.building_blocks import check_pooling, encode_sequence, pool
from keras_seq.models.numbers import check_counts, check_rates

HEADS = ("classes", "ctc")
NORMALIZATIONS = ("recording", "batch", None)


def audio_front_end(
    units: int,
    *,
    sampling_rate: int = 8000,
    num_mel_bins: int = 40,
    feature_normalization: str | None = "recording",
    conv_layers: int = 2,
    num_masks: int = 2,
    time_mask_width: int = 20,
    frequency_mask_width: int = 8,
    dropout: float = 0.1,
    name: str = "front_end",
) -> keras.Model:
    """A model that maps waveforms to vectors: log-mel features, normalization and convolutions.

    It is the first part of `recognizer`, and a `source_front_end` for `Seq2Seq` and `Transformer`:

        model = models.Seq2Seq(None, 14, source_front_end=models.audio_front_end(128), units=128)

    Args:
        units: width of the output, D.
        sampling_rate: number of samples per second.
        num_mel_bins: number of frequency bands.
        feature_normalization: normalization of each band: "recording" uses its mean and deviation in the recording,
            "batch" those of the training data (`keras.layers.BatchNormalization`), which keeps the spectrum of a short
            sound, and None does nothing.
        conv_layers: number of convolutions. Each halves the frame rate, which is 100 per second before.
        num_masks: number of time masks, and of frequency masks, in training. 0: none.
        time_mask_width, frequency_mask_width: largest width of each mask, in frames and in bands.
        dropout: rate of dropout on the output.
    Returns:
        a `keras.Model` from float `(B, samples)` to float `(B, T, D)` with its mask. Trailing zeros of a waveform are
        padding.
    Raises:
        ValueError: if `feature_normalization` is not one of these, and as for the layers inside.
    """
    if feature_normalization not in NORMALIZATIONS:
        raise ValueError(
            f"`feature_normalization` must be one of {NORMALIZATIONS}. Received: {feature_normalization!r}"
        )
    check_counts(units=units, sampling_rate=sampling_rate, num_mel_bins=num_mel_bins, conv_layers=conv_layers)
    check_rates(dropout=dropout)
    if num_masks and (num_masks < 0 or not 0 <= frequency_mask_width <= num_mel_bins):
        raise ValueError(
            f"`num_masks` must not be negative, and `frequency_mask_width` from 0 to `num_mel_bins`={num_mel_bins}. "
            f"Received: {num_masks} and {frequency_mask_width}"
        )
    waveform = keras.Input((None,), name="waveform")
    x = TrailingPaddingMask(name="padding")(waveform)
    x = LogMel(sampling_rate, num_mel_bins=num_mel_bins, name="log_mel")(x)
    if feature_normalization == "recording":
        x = ReversibleNormalization(affine=False, name="normalization")(x)
    elif feature_normalization == "batch":
        x = keras.layers.BatchNormalization(center=False, scale=False, name="normalization")(x)
    if num_masks:
        x = SpecAugment(num_masks, time_mask_width, num_masks, frequency_mask_width, name="augmentation")(x)
    x = ConvSubsampling(units, conv_layers, filters=max(1, units // 4), name="subsampling")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(waveform, x, name=name)


def recognizer(
    num_labels: int,
    *,
    head: str = "ctc",
    architecture: str | type = "lstm",
    units: int = 128,
    num_layers: int = 2,
    bidirectional: bool = True,
    pooling: str = "attention",
    front_end: keras.Model | None = None,
    dropout: float = 0.2,
    num_heads: int = 4,
    architecture_options: Mapping[str, Any] | None = None,
    name: str = "recognizer",
) -> keras.Model:
    """A model that predicts the class of a recording, or the sequence of labels in it.

        model = recognizer(11)                                        # ten digits, and the blank
        model.compile("adam", losses.CTCLoss())
        logits = model.predict(waveforms)
        found = decoding.ctc(logits, [logits.shape[1]] * len(logits))

    For attention instead of CTC, use `Seq2Seq` or `Transformer` with an `audio_front_end`.

    Args:
        num_labels: number of classes or, for CTC, of labels including the blank, which is 0.
        head: "ctc" for logits at each frame, or "classes" for one class for each recording.
        architecture: one of `layers.ARCHITECTURES`, a registered cell, or a baseline, "cnn" or "feedforward".
        units: width, D.
        num_layers: number of layers after the front end.
        bidirectional: whether each frame depends on later frames.
        pooling: for "classes", pooling of the frames into one vector: "attention", "mean", "max" or "last".
        front_end: a `keras.Model` that maps one input to vectors. None: `audio_front_end(units)`.
        dropout: rate of dropout between layers and before the scores.
        num_heads: number of attention heads of a Transformer.
        architecture_options: more arguments of the `RecurrentStack` or `TransformerStack`, as a dict.
    Returns:
        a `keras.Model` from float `(B, samples)` to logits `(B, N)` or, for CTC, float32 `(B, T, V)`. Padded frames
        predict the blank with certainty, so `losses.CTCLoss` and `decoding.ctc` need no lengths.
    Raises:
        ValueError: if an option has an invalid value.
    Example:
        >>> model = models.recognizer(11, architecture="gru", units=8, num_layers=1)
        >>> tuple(model(np.zeros((1, 8000), "float32")).shape)  # a second of sound: 25 steps
        (1, 25, 11)
    Source: Graves et al. 2006, "Connectionist temporal classification"; Graves et al. 2013, arXiv:1303.5778.
    """
    if head not in HEADS:
        raise ValueError(f"`head` must be one of {HEADS}. Received: {head!r}")
    check_counts(num_labels=num_labels, units=units, num_layers=num_layers, num_heads=num_heads)
    check_rates(dropout=dropout)
    if head == "classes":
        check_pooling(pooling)
    front_end = front_end or audio_front_end(units)
    inputs = keras.Input(batch_shape=front_end.inputs[0].shape, dtype=front_end.inputs[0].dtype, name="waveform")
    steps = {"bidirectional": bidirectional, "dropout": dropout, "num_heads": num_heads}
    steps |= {"architecture_options": architecture_options}
    x, states = encode_sequence(front_end(inputs), architecture, units, num_layers, **steps)
    if head == "classes":
        x = pool(x, states, pooling)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    logits = keras.layers.Dense(num_labels, name="logits")(x)
    return keras.Model(inputs, BlankPadding(name="frames")(logits) if head == "ctc" else logits, name=name)

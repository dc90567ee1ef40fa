"""Models that classify clips, or predict the next frames."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_seq.layers import (
    ARCHITECTURES,
    ConvLSTM2D,
    FrameCNN,
    FrameConvolution,
    FrameDecoder,
    FramePairs,
    FramePatches,
    TrailingPaddingMask,
    sequence_backbone,
)
from keras_seq.layers.masks import at_least_float32
from keras_seq.models.building_blocks import check_architecture, check_pooling, encode_sequence, pool
from keras_seq.models.numbers import check_counts, check_rates


def video_classifier(
    frame_shape: Sequence[int],
    num_classes: int | Mapping[str, int],
    *,
    architecture: str | type = "gru",
    units: int = 64,
    num_layers: int = 1,
    bidirectional: bool = False,
    pooling: str | None = None,
    filters: Sequence[int] = (16, 32),
    dropout: float = 0.1,
    num_heads: int = 4,
    architecture_options: Mapping[str, Any] | None = None,
    name: str = "video_classifier",
) -> keras.Model:
    """A model that predicts the class of a clip, or the answers to several questions about it.

        model = video_classifier((32, 32, 1), {"direction": 8, "digit": 10})
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(clips, {"direction": directions, "digit": digits})

    Each frame is processed together with the one before it, in the same way at all places, and each feature is pooled
    with its place. So the model learns motion once, not separately for each place.

    Args:
        frame_shape: `(height, width, channels)`.
        num_classes: number of classes, or a dict of several such numbers by name.
        architecture: the model over the frame vectors of a `FrameCNN`: one of `layers.ARCHITECTURES`, a registered
            cell, or a baseline, "cnn" or "feedforward". Or "convlstm": recurrence over feature maps.
        units: width, D.
        num_layers: number of layers. "convlstm" has as many as `filters`.
        bidirectional: whether each frame depends on later frames.
        pooling: pooling of the frames into one vector: "attention", "mean", "max" or "last". None: "mean" for
            "convlstm", whose states grow during a clip, so that the last state of a longer clip is unlike any in
            training, else "last".
        filters: number of channels of each convolution.
        dropout: rate of dropout between layers and before the scores. The states of "convlstm" have a separate rate,
            0.3.
        num_heads: number of attention heads of a Transformer.
        architecture_options: more arguments of the `RecurrentStack` or `TransformerStack`, as a dict.
    Returns:
        a `keras.Model` from float `(B, T, height, width, channels)` to logits `(B, N)`, or to a dict of logits.
        Trailing frames that are all zeros are padding.
    Raises:
        ValueError: if an option has an invalid value.
    Source: Donahue et al. 2015, arXiv:1411.4389; "convlstm": Shi et al. 2015, arXiv:1506.04214.
    """
    for count in num_classes.values() if isinstance(num_classes, dict) else [num_classes]:
        check_counts(num_classes=count)
    _check(frame_shape, units, num_layers, filters, dropout, num_heads)
    if pooling is not None:
        check_pooling(pooling)
    frames = keras.Input((None, *frame_shape), name="frames")
    x = FramePairs(name="pairs")(TrailingPaddingMask(name="padding")(frames))
    if architecture == "convlstm":
        # Cell states grow without bound. A shorter, noisier memory in training makes the model robust to longer clips.
        x, states = _conv_lstm(x, filters, dropout, strides=2, unit_forget_bias=False, recurrent_dropout=0.3), []
        x = FrameCNN((), units, pooling="where", name="pictures")(x)
        x = keras.layers.Activation("relu", name="relu")(x)
    else:
        x = FrameCNN(filters, units, pooling="where", name="pictures")(x)
        x = keras.layers.Dropout(dropout, name="picture_dropout")(x)
        steps = {"bidirectional": bidirectional, "dropout": dropout, "num_heads": num_heads}
        steps |= {"architecture_options": architecture_options}
        x, states = encode_sequence(x, architecture, units, num_layers, **steps)
    pooling = pooling or ("mean" if architecture == "convlstm" else "last")
    x = keras.layers.Dropout(dropout, name="dropout")(pool(x, states, pooling))
    if not isinstance(num_classes, dict):
        return keras.Model(frames, keras.layers.Dense(num_classes, name="logits")(x), name=name)
    outputs = {question: keras.layers.Dense(count, name=question)(x) for question, count in num_classes.items()}
    return keras.Model(frames, outputs, name=name)


def frame_predictor(
    frame_shape: Sequence[int],
    *,
    architecture: str | type = "convlstm",
    units: int = 256,
    num_layers: int = 1,
    filters: Sequence[int] = (32, 32),
    patch_size: int = 2,
    dropout: float = 0.0,
    num_heads: int = 4,
    architecture_options: Mapping[str, Any] | None = None,
    name: str = "frame_predictor",
) -> keras.Model:
    """A model that predicts the next frame after each frame of a clip.

    A convolution draws the next frame from the memory of the clip and the last two frames. Most of a frame is in the
    one before it, and need not be remembered.

        model = frame_predictor((32, 32, 1))
        model.compile("adam", "mse")
        model.fit(clips[:, :-1], clips[:, 1:])

    Args:
        frame_shape: `(height, width, channels)`.
        architecture: "convlstm" for recurrence from frame to frame, or one of `layers.ARCHITECTURES` or a registered
            cell, between a `FrameCNN` and a `FrameDecoder`.
        units: width of the frame vectors, D. Unused by "convlstm".
        num_layers: number of layers in between. "convlstm" has as many as `filters`.
        filters: number of channels of each convolution, in reverse order in the decoder.
        patch_size: side of the squares of pixels that become one pixel with all their channels, in the memory of
            "convlstm" and in the output. A layer of "convlstm" covers one such pixel to each side. Relations across a
            whole frame need large squares, or many layers.
        dropout: rate of dropout between layers.
        num_heads: number of attention heads of a Transformer.
        architecture_options: more arguments of the `RecurrentStack` or `TransformerStack`, as a dict.
    Returns:
        a `keras.Model` from float `(B, T, height, width, channels)`, in [0, 1], to the same shape and range.
    Raises:
        ValueError: if an option has an invalid value, or if the squares do not fill the frames.
    Source: Shi et al. 2015, arXiv:1506.04214; Srivastava et al. 2015, arXiv:1502.04681.
    """
    check_counts(patch_size=patch_size)
    _check(frame_shape, units, num_layers, filters, dropout, num_heads)
    if None in frame_shape or frame_shape[0] % patch_size or frame_shape[1] % patch_size:
        raise ValueError(
            f"Squares of `patch_size` pixels a side must fill frames of `frame_shape`={tuple(frame_shape)}. "
            f"Received: {patch_size}"
        )
    if architecture != "convlstm":
        check_architecture(architecture, ("convlstm", *ARCHITECTURES))
    frames = keras.Input((None, *frame_shape), name="frames")
    # No frame depends on later ones, so padding needs no mask.
    pairs = FramePairs(name="pairs")(frames)
    patches = FramePatches(patch_size, name="patches")(pairs)
    if architecture == "convlstm":
        x = _conv_lstm(patches, filters, dropout)
    else:
        x = FrameCNN(filters, units, name="pictures")(pairs)
        backbone = sequence_backbone(
            architecture,
            units,
            num_layers,
            dropout=dropout,
            num_heads=num_heads,
            architecture_options=architecture_options,
        )
        x, _ = backbone(x)
        x = FrameDecoder((*patches.shape[2:4], filters[0]), filters[::-1], name="recalled")(x)
    x = keras.layers.Concatenate(name="recalled_and_seen")([x, patches])
    x = FrameConvolution(2 * filters[-1], name="mixed")(x)
    x = keras.layers.Dense(patch_size**2 * frame_shape[-1], name="drawn")(x)
    x = FramePatches(patch_size, reverse=True, name="drawn_pictures")(x)
    exact = at_least_float32(keras.config.dtype_policy().compute_dtype)
    return keras.Model(frames, keras.layers.Activation("sigmoid", name="next_frames", dtype=exact)(x), name=name)


def _check(frame_shape, units, num_layers, filters, dropout, num_heads):
    if len(frame_shape) != 3:
        raise ValueError(f"`frame_shape` must be (height, width, channels). Received: {frame_shape}")
    for size in frame_shape:
        check_counts(frame_shape=size)
    if not filters:
        raise ValueError(f"`filters` must not be empty. Received: {filters!r}")
    for channels in filters:
        check_counts(filters=channels)
    check_counts(units=units, num_layers=num_layers, num_heads=num_heads)
    check_rates(dropout=dropout)


def next_frames(model: keras.Model, frames: Any, steps: int, *, batch_size: int = 64) -> np.ndarray:
    """Predicts `steps` frames after those of each clip, each from all earlier frames, including predicted ones.

    Args:
        model: a `frame_predictor`.
        frames: float `(N, T, height, width, channels)`, without padding.
        steps: number of frames to predict.
        batch_size: number of clips in a batch.
    Returns:
        a NumPy array, float32 `(N, steps, height, width, channels)`.
    """
    given = np.shape(frames)[1]
    # One shape for all steps, compiled once. Frames that are not predicted yet have no effect on earlier ones.
    clips = np.pad(np.asarray(frames, "float32"), ((0, 0), (0, steps), (0, 0), (0, 0), (0, 0)))
    for step in range(given, given + steps):
        clips[:, step] = model.predict(clips, batch_size=batch_size, verbose=0)[:, step - 1]
    return clips[:, given:]


def _conv_lstm(x, filters, dropout, strides=1, unit_forget_bias=True, recurrent_dropout=0.0):
    """Recurrent layers over frames. The output of each is `strides` times smaller than its input."""
    for i, channels in enumerate(filters):
        x = ConvLSTM2D(
            channels,
            3,
            strides=strides,
            padding="same",
            data_format="channels_last",
            return_sequences=True,
            unit_forget_bias=unit_forget_bias,
            recurrent_dropout=recurrent_dropout,
            name=f"convlstm_{i}",
        )(x)
        x = keras.layers.Dropout(dropout, name=f"dropout_{i}")(x)
    return x

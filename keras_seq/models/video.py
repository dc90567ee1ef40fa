"""Clips to classes, and to the pictures that come next."""

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
    frame_shape,
    num_classes,
    *,
    architecture="gru",
    units=64,
    num_layers=1,
    bidirectional=False,
    pooling=None,
    filters=(16, 32),
    dropout=0.1,
    num_heads=4,
    architecture_options=None,
    name="video_classifier",
):
    """A model that says which class a clip belongs to, or of several questions about it the answer to each.

        model = video_classifier((32, 32, 1), {"direction": 8, "digit": 10})
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(clips, {"direction": directions, "digit": digits})

    Each picture is looked at together with the one before it, alike in all places, and what was found is told with its
    place: so motion is learned once, not anew for each place.

    Args:
        frame_shape: `(height, width, channels)`.
        num_classes: number of classes; or a dict of several numbers by their names.
        architecture: what joins the pictures, each of which a `FrameCNN` makes a vector of: one of
            `layers.ARCHITECTURES`, a registered cell, or a baseline, "cnn" or "feedforward". Or "convlstm": recurrence
            from picture to picture, which stay pictures.
        units: width, D.
        num_layers: how many layers; for "convlstm" there are as many as `filters`.
        bidirectional: whether each picture knows those after it.
        pooling: "attention", "mean", "max" or "last": how the pictures become one vector. None: "mean" for "convlstm",
            whose states grow as a clip goes on, so that the last one of a longer clip is nothing known; else "last".
        filters: channels of the convolutions.
        dropout: rate between layers and before the scores; the states of "convlstm" have one of their own, 0.3.
        num_heads: of a Transformer.
        architecture_options: more arguments of the `RecurrentStack` or `TransformerStack`, as a dict.
    Returns:
        a `keras.Model` from float `(B, T, height, width, channels)` to logits `(B, N)`, or to a dict of them. The
        pictures of nothing but zeros that a clip ends in are padding.
    Raises:
        ValueError: for an option that has no such value.
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
        # Cells add up without bound. Where training makes memory short and unsure, longer clips do not upset it.
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
    frame_shape,
    *,
    architecture="convlstm",
    units=256,
    num_layers=1,
    filters=(32, 32),
    patch_size=2,
    dropout=0.0,
    num_heads=4,
    architecture_options=None,
    name="frame_predictor",
):
    """A model that draws, after each picture of a clip, the one that it expects next.

    What remembers the clip, and the last two pictures as they are, go into a convolution that draws: most of a picture
    is in the one before it, and need not be remembered.

        model = frame_predictor((32, 32, 1))
        model.compile("adam", "mse")
        model.fit(clips[:, :-1], clips[:, 1:])

    Args:
        frame_shape: `(height, width, channels)`.
        architecture: "convlstm": recurrence from picture to picture; or one of `layers.ARCHITECTURES` or a registered
            cell, between a `FrameCNN` and a `FrameDecoder`.
        units: width of the vector that a picture becomes, D; "convlstm" has none.
        num_layers: how many layers between; for "convlstm" there are as many as `filters`.
        filters: channels of the convolutions, in the decoder in reverse.
        patch_size: squares of so many points a side become one point, which has their channels, where pictures are
            remembered ("convlstm") and drawn. A layer of "convlstm" sees one such point to each side: what one end of a
            picture tells about the other needs large ones, or many layers.
        dropout: rate between layers.
        num_heads: of a Transformer.
        architecture_options: more arguments of the `RecurrentStack` or `TransformerStack`, as a dict.
    Returns:
        a `keras.Model` from float `(B, T, height, width, channels)`, in [0, 1], to the like.
    Raises:
        ValueError: for an option that has no such value, or if the squares do not fill the pictures.
    Source: Shi et al. 2015, arXiv:1506.04214; Srivastava et al. 2015, arXiv:1502.04681.
    """
    check_counts(patch_size=patch_size)
    _check(frame_shape, units, num_layers, filters, dropout, num_heads)
    if None in frame_shape or frame_shape[0] % patch_size or frame_shape[1] % patch_size:
        raise ValueError(
            f"Squares of `patch_size` points must fill pictures of `frame_shape`={tuple(frame_shape)}. "
            f"Received: {patch_size}"
        )
    if architecture != "convlstm":
        check_architecture(architecture, ("convlstm", *ARCHITECTURES))
    frames = keras.Input((None, *frame_shape), name="frames")
    # Nothing here looks at what comes later, so padding needs no mask.
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
        raise ValueError(f"`filters` must be some numbers of channels. Received: {filters!r}")
    for channels in filters:
        check_counts(filters=channels)
    check_counts(units=units, num_layers=num_layers, num_heads=num_heads)
    check_rates(dropout=dropout)


def next_frames(model, frames, steps, *, batch_size=64):
    """Draws so many pictures after those of each clip, each from all before it, those drawn included.

    Args:
        model: a `frame_predictor`.
        frames: float `(N, T, height, width, channels)`, without padding.
        steps: how many pictures to draw.
        batch_size: clips that are gone on with together.
    Returns:
        a NumPy array, float32 `(N, steps, height, width, channels)`.
    """
    given = np.shape(frames)[1]
    # One shape all the way, compiled once: what is not drawn yet has no say, for nothing looks at what comes later.
    clips = np.pad(np.asarray(frames, "float32"), ((0, 0), (0, steps), (0, 0), (0, 0), (0, 0)))
    for step in range(given, given + steps):
        clips[:, step] = model.predict(clips, batch_size=batch_size, verbose=0)[:, step - 1]
    return clips[:, given:]


def _conv_lstm(x, filters, dropout, strides=1, unit_forget_bias=True, recurrent_dropout=0.0):
    """Layers of recurrence over pictures, each `strides` times smaller than the one before."""
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

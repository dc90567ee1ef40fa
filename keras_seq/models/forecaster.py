"""Time series forecasters: points or quantiles, all steps at once or step by step."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_seq.layers import (
    AutoregressiveDecoder,
    LastSteps,
    MovingAverage,
    Patches,
    QuantileOffsets,
    ReversibleNormalization,
)
from keras_seq.layers.masks import at_least_float32
from keras_seq.models.building_blocks import BASELINES, encode_sequence
from keras_seq.models.numbers import check_counts, check_rates

LINEAR = ("linear", "dlinear")
DECODERS = ("direct", "autoregressive")


def forecaster(
    num_columns: int,
    look_back: int,
    horizon: int,
    *,
    architecture: str | type = "transformer",
    units: int = 64,
    num_layers: int = 2,
    patch_length: int = 16,
    patch_stride: int | None = None,
    channel_independent: bool = True,
    series_normalization: str | None = "mean",
    decoder: str = "direct",
    decoder_stride: int = 1,
    targets: Sequence[int] | None = None,
    num_known: int = 0,
    num_static: int = 0,
    quantiles: Sequence[float] | None = None,
    residual: bool = False,
    dropout: float = 0.2,
    num_heads: int = 4,
    architecture_options: Mapping[str, Any] | None = None,
    name: str = "forecaster",
) -> keras.Model:
    """A model that forecasts series from their past. Compile it with "mse", or with `losses.QuantileLoss(quantiles)`.

    The shapes are those of `data.windows`. The defaults are PatchTST. `architecture="linear"` is NLinear with
    `series_normalization="last"`, and RLinear with "mean". "dlinear" is DLinear with None. "gru" with patches that do
    not overlap and `decoder_stride=patch_length` is close to SegRNN.

    Args:
        num_columns: number of columns of the past, C.
        look_back: number of past steps that the model uses, L. Of a longer past, the last steps are used.
        horizon: number of future steps, H.
        architecture: one of `layers.ARCHITECTURES`, a registered cell, or a baseline: "linear", "dlinear" (trend and
            rest separately), "feedforward" or "cnn".
        units: width, D.
        num_layers: number of layers.
        patch_length, patch_stride: number of steps that form one patch, and from one patch to the next (by default half
            of it). With `patch_length=1`, and for the linear architectures, there are no patches.
        channel_independent: whether to forecast each target separately, from its past and the columns that are not
            targets, with shared weights. If False, all are forecast together.
        series_normalization: normalization of the targets' past, "mean", "last" or None: see
            `layers.ReversibleNormalization`.
        decoder: "direct" for all steps at once or, for recurrent architectures, "autoregressive" for each step from the
            one before.
        decoder_stride: number of steps that the autoregressive decoder forecasts at a time. Must divide `horizon`.
        targets: indices of the columns to forecast. None: all.
        num_known: number of columns whose future is available, K.
        num_static: number of static features of a series, F.
        quantiles: increasing quantiles between 0 and 1, or None for one number for each step. See `calibrate`.
        residual: whether to add a linear map of each target's past, the layer "linear", to the network's output, which
            starts at zero. So the model starts as good as the map. The map is not trained. Set its weights, for example
            by least squares: a kernel `(L, H)` and a bias `(H,)`, applied to the past after `series_normalization`.
        dropout: rate of dropout on the embedded steps, between layers and before the forecast.
        num_heads: number of attention heads of a Transformer.
        architecture_options: more arguments of the `RecurrentStack` or `TransformerStack`, as a dict.
    Returns:
        a `keras.Model` from the past, float `(B, T, C)` or, with more inputs, from `{"past", "known_future": float
        (B, H, K), "static": float (B, F)}`. Its output is `(B, H, targets)`, or `(B, H, targets, Q)` with the quantiles
        in their order.
    Raises:
        ValueError: if an option has an invalid value.
    Example:
        >>> model = models.forecaster(2, look_back=32, horizon=8, architecture="linear", quantiles=(0.1, 0.5, 0.9))
        >>> tuple(model(np.zeros((4, 32, 2), "float32")).shape)  # (rows, steps, columns, quantiles)
        (4, 8, 2, 3)
    Source: Nie et al. 2023, arXiv:2211.14730 (PatchTST); Zeng et al. 2023, arXiv:2205.13504 (DLinear, NLinear); Kim et
        al. 2022, openreview.net/forum?id=cGDAkQo1C0p; Lin et al. 2023, arXiv:2308.11200 (SegRNN); Wen et al. 2017,
        arXiv:1711.11053 (quantiles, future inputs).
    """
    _check_numbers(
        num_columns=num_columns,
        look_back=look_back,
        horizon=horizon,
        units=units,
        num_layers=num_layers,
        patch_length=patch_length,
        patch_stride=patch_stride,
        decoder_stride=decoder_stride,
        num_known=num_known,
        num_static=num_static,
        num_heads=num_heads,
        dropout=dropout,
    )
    columns = list(range(num_columns))
    places = columns if targets is None else list(targets)
    _check(columns, places, horizon, architecture, decoder, decoder_stride, quantiles)
    if architecture not in LINEAR:
        _check_patches(look_back, patch_length, patch_stride)
    if series_normalization not in ("mean", "last", None):
        raise ValueError(f"`series_normalization` must be 'mean', 'last' or None. Received: {series_normalization!r}")
    if residual and (decoder == "autoregressive" or architecture in LINEAR):
        raise ValueError(
            "`residual` needs a direct decoder, and an architecture that is not linear. "
            f"Received: {decoder!r}, {architecture!r}"
        )
    past = keras.Input((None, num_columns), name="past")
    known = keras.Input((horizon, num_known), name="known_future") if num_known else None
    static = keras.Input((num_static,), name="static") if num_static else None
    inputs = {each.name: each for each in (past, known, static) if each is not None}

    steps = LastSteps(look_back, name="look_back")(past)
    others = [place for place in columns if place not in places]
    series = steps if not others and places == columns else ops.take(steps, places, axis=-1)
    beside = ops.take(steps, others, axis=-1) if others else None
    x = series
    if series_normalization is not None:
        # In float32 at least under any policy, since half of float16's digits would be lost on the level of the series.
        how = {"scale": series_normalization == "mean", "affine": not residual}  # the map applies to unscaled values
        exact = at_least_float32(keras.config.dtype_policy().compute_dtype)
        norm = ReversibleNormalization(series_normalization, **how, dtype=exact, name="normalization")
        x = norm(series)
    straight = _straight(x, horizon) if residual else None
    count, Q = len(places), 1 if quantiles is None else len(quantiles)
    if channel_independent:
        x = ops.reshape(ops.transpose(x, (0, 2, 1)), (-1, look_back, 1))  # (B, L, C) -> (B * C, L, 1)
        beside, known, static = (
            each if each is None else ops.repeat(each, count, axis=0) for each in (beside, known, static)
        )
    newest = x[:, -decoder_stride:]
    if beside is not None:
        x = ops.concatenate([x, beside], axis=-1)

    if architecture in LINEAR:
        context, states = _linear(x, static, architecture), []
    else:
        x = _embed(x, static, units, patch_length, patch_stride, dropout)
        stack = {"dropout": dropout, "num_heads": num_heads, "architecture_options": architecture_options}
        context, states = _context(x, architecture, units, num_layers, stack)
    if decoder == "autoregressive":
        y = _autoregressive(newest, states, known, architecture, horizon // decoder_stride, Q)
    else:
        y = _direct(context, known, horizon, Q if channel_independent else count * Q, units, residual)

    if channel_independent:
        y = ops.transpose(ops.reshape(y, (-1, count, horizon, Q)), (0, 2, 1, 3))  # (B * C, H, Q) -> (B, H, C, Q)
    else:
        y = ops.reshape(y, (-1, horizon, count, Q))
    if residual:
        y = y + straight
    if quantiles is not None:
        # Sorted, because quantiles must not cross. Sorting never increases the pinball loss (Chernozhukov et al. 2010).
        y = QuantileOffsets(name="calibration")(ops.sort(y, axis=-1))
    if series_normalization is not None:
        y = norm(y, past=series, reverse=True)
    y = ops.reshape(y, (-1, horizon, count)) if quantiles is None else ops.sort(y, axis=-1)
    return keras.Model(inputs if len(inputs) > 1 else past, y, name=name)


def _embed(x, static, units, patch_length, patch_stride, dropout):
    """Embeds steps, or patches of them: `(B, L, C)` to `(B, P, D)`."""
    if patch_length > 1:
        x = Patches(patch_length, patch_stride or max(1, patch_length // 2), name="patches")(x)
    x = keras.layers.Dense(units, name="embedding")(x)
    if static is not None:
        x = x + keras.layers.Dense(units, name="static_embedding")(static)[:, None]
    return keras.layers.Dropout(dropout, name="embedding_dropout")(x)


def _context(x, architecture, units, num_layers, stack):
    """The input of the forecast: `(B, P, D)` to a recurrent stack's last state, else to all patches concatenated."""
    if architecture == "transformer":  # as in PatchTST
        usual = {"positions": "learned", "max_positions": x.shape[1], "layer_options": {"activation": "gelu"}}
        stack = {**stack, "architecture_options": {**usual, **(stack["architecture_options"] or {})}}
    both_ways = architecture in ("transformer", *BASELINES)
    x, states = encode_sequence(x, architecture, units, num_layers, bidirectional=both_ways, **stack)
    context = states[-1][0] if states else keras.layers.Flatten(name="all_patches")(x)
    return keras.layers.Dropout(stack["dropout"], name="dropout")(context), states


def _linear(x, static, architecture):
    """The input of a linear forecast: all steps, concatenated."""
    if architecture == "dlinear":
        trend = MovingAverage(name="trend")(x)
        x = ops.concatenate([trend, x - trend], axis=-1)
    x = keras.layers.Flatten(name="all_steps")(x)
    return x if static is None else ops.concatenate([x, static], axis=-1)


def _straight(series, horizon):
    """A linear map of each channel's steps, with the same weights for all channels: `(B, L, C)` to `(B, H, C, 1)`."""
    x = ops.transpose(series, (0, 2, 1))
    y = keras.layers.Dense(horizon, trainable=False, name="linear")(x)  # (B, C, H)
    return ops.transpose(y, (0, 2, 1))[..., None]


def _direct(x, known, horizon, width, units, residual):
    """Forecasts all steps at once: `(B, D)` to `(B, H, width)`, plus the effect of the given future columns."""
    begins = {"kernel_initializer": "zeros" if residual else "glorot_uniform"}
    y = keras.layers.Dense(horizon * width, name="forecast", **begins)(x)
    y = ops.reshape(y, (-1, horizon, width))
    if known is None:
        return y
    hidden = keras.layers.Dense(units, name="known")(known) + keras.layers.Dense(units, name="context")(x)[:, None]
    return y + keras.layers.Dense(width, name="known_forecast", **begins)(ops.relu(hidden))


def _autoregressive(newest, states, known, cell, calls, Q):
    """Forecasts some steps at a time, starting from the newest ones: `(B, S, C)` to `(B, H / S, S * C * Q)`."""
    S, C = newest.shape[1:]
    first = ops.reshape(ops.repeat(newest, Q, axis=-1), (-1, S * C * Q))
    if known is not None:
        known = ops.reshape(known, (-1, calls, S * known.shape[-1]))
    layers = {"units": states[0][0].shape[-1], "num_layers": len(states)}
    return AutoregressiveDecoder(cell, steps=calls, name="decoder", **layers)(first, states, known)


def _check_numbers(**options):
    check_rates(dropout=options.pop("dropout"))
    for name in ("num_known", "num_static"):  # these may be zero
        check_counts(**{name: options.pop(name) or None})
    check_counts(**options)


def _check(columns, places, horizon, architecture, decoder, decoder_stride, quantiles):
    if not places or len(set(places)) < len(places) or not set(places) <= set(columns):
        raise ValueError(f"`targets` must be some of the columns 0 to {columns[-1]}. Received: {places}")
    if decoder not in DECODERS:
        raise ValueError(f"`decoder` must be one of {DECODERS}. Received: {decoder!r}")
    if decoder == "autoregressive" and architecture in ("transformer", *BASELINES, *LINEAR):
        raise ValueError(f"An autoregressive decoder needs a recurrent architecture. Received: {architecture!r}")
    if horizon % decoder_stride:
        raise ValueError(f"`decoder_stride` must divide `horizon`={horizon}. Received: {decoder_stride}")
    if quantiles is not None and (not quantiles or list(quantiles) != sorted(set(quantiles))):
        raise ValueError(f"`quantiles` must be increasing. Received: {quantiles}")
    if quantiles is not None and not 0 < min(quantiles) <= max(quantiles) < 1:
        raise ValueError(f"`quantiles` must be between 0 and 1. Received: {quantiles}")


def _check_patches(look_back, patch_length, patch_stride):
    if patch_length > look_back:
        raise ValueError(f"`patch_length` must not exceed `look_back`={look_back}. Received: {patch_length}")
    if patch_stride is not None and patch_stride > patch_length > 1:
        raise ValueError(f"`patch_stride` must not exceed `patch_length`={patch_length}. Received: {patch_stride}")

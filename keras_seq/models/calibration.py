"""Calibration of a forecaster's quantiles on data that it was not trained on."""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
from keras import ops


def calibrate(model: keras.Model, batches: Iterable, quantiles: Sequence[float]):
    """Moves the quantiles of a `forecaster` so that the right share of the targets in `batches` lies below each.

    A network is more certain of its training data than of other data, and of all data until its bands have widened. For
    each step and each quantile, this computes the quantile of the forecast errors (in units of the deviation of each
    row's past, if the forecaster normalizes it) and adds it to the forecast, the same for all columns. Nothing is
    trained. A saved or exported model includes the offsets. A second call starts over.

    Args:
        model: a trained `forecaster` with quantiles.
        batches: batches of `(inputs, target (B, H, C))` that were not used in training, such as a validation set.
        quantiles: the quantiles of the model, Q.
    Returns:
        the share of the targets below each quantile before calibration, `(Q,)`. Afterwards the share equals the
        quantile, except for forecasts that crossed.
    Raises:
        ValueError: if the model does not have these quantiles, there are no batches, or numbers are not finite. The
            model is then unchanged.
    Source: Romano et al. 2019, arXiv:1905.03222 (conformalized quantile regression, each side separately). Overlapping
        windows are not exchangeable, so its guarantee does not apply to them.
    """
    layer = next((layer for layer in model.layers if layer.name == "calibration"), None)
    if layer is None or layer.offsets.shape[-1] != len(quantiles):
        raise ValueError(f"The model must be a `forecaster` of {len(quantiles)} quantiles. Received: {model.name!r}")

    def forecasts(inputs, offset):
        layer.offsets.assign(ops.full(layer.offsets.shape, offset))
        return model.predict_on_batch(inputs)  # (B, H, C, Q)

    offsets, errors = np.array(ops.convert_to_numpy(layer.offsets)), []
    try:
        for inputs, target in batches:
            y = forecasts(inputs, 0.0)
            unit = forecasts(inputs, 1.0) - y  # effect of an offset of 1, such as the deviation of the past
            errors.append((np.asarray(target)[..., None] - y) / unit)
        if not errors:
            raise ValueError("Calibration needs at least one batch: `batches` is empty.")
        errors = np.concatenate(errors)
        if not np.isfinite(errors).all():
            raise ValueError("Forecasts and targets must be finite. Some in `batches` are not.")
        found = [np.quantile(errors[..., i], q, axis=(0, 2)) for i, q in enumerate(quantiles)]
        offsets = np.stack(found, axis=-1)[:, None]
    finally:
        layer.offsets.assign(offsets)
    return np.mean(errors < 0, axis=(0, 1, 2))

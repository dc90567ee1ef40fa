"""Bands that hold what they say: a forecaster's quantiles, moved to where they are on data it was not trained on."""

import numpy as np
from keras import ops


def calibrate(model, batches, quantiles):
    """Moves the quantiles of a `forecaster`, so that each share of what came in `batches` lies below its quantile.

    A network is surer of the data that it was trained on than of any other, and of all data as long as its bands have
    not opened yet. For each step and each quantile this finds how far what came is from the forecast (in units of each
    row's own past, where the forecaster normalizes it), and moves the quantile there, the same for all columns. Nothing
    is trained, and the model that is saved or exported afterwards has it in it. A second call begins anew.

    Args:
        model: a `forecaster` with quantiles, trained.
        batches: of `(inputs, target (B, H, C))` that it was not trained on, a validation set.
        quantiles: the model's, Q.
    Returns:
        the share of what came that lay below each quantile before, `(Q,)`; afterwards it is the quantile, but for
        forecasts that crossed.
    Raises:
        ValueError: for a model without such quantiles, for no batches, and for numbers that are not finite; the model
            stays as it was.
    Source: Romano et al. 2019, arXiv:1905.03222 (conformalized quantile regression; each side on its own). Windows that
        overlap are not exchangeable, so that its guarantee is not theirs.
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
            unit = forecasts(inputs, 1.0) - y  # how far an offset of 1 moves it: the deviation of its past, say
            errors.append((np.asarray(target)[..., None] - y) / unit)
        if not errors:
            raise ValueError("There is nothing to calibrate on: `batches` is empty.")
        errors = np.concatenate(errors)
        if not np.isfinite(errors).all():
            raise ValueError("Forecasts and targets must be finite. Some in `batches` are not.")
        found = [np.quantile(errors[..., i], q, axis=(0, 2)) for i, q in enumerate(quantiles)]
        offsets = np.stack(found, axis=-1)[:, None]
    finally:
        layer.offsets.assign(offsets)
    return np.mean(errors < 0, axis=(0, 1, 2))

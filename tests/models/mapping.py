"""What every model that only maps promises, whatever function built it."""

import keras
import numpy as np

from tests.reference import array, arrays, fill, program


def check_mapping(model, inputs, folder, *, pads, real=None, more=3, scale=0.5, tolerance=1e-5):
    """Asserts: static = dynamic shapes, `.keras` round trip; padding and neighbors in the batch change nothing.

    Args:
        model: gets weights that are neither zeros nor ones, so that none can be forgotten unseen.
        inputs: an array, or a dict of arrays, of at least two rows.
        folder: for the file.
        pads: for each input by its name (for a single one: a number alone) what padding is made of; None: it has none.
        real: bool `(B, T)`, which steps of the outputs are real; None: the outputs have no steps.
        more: how many steps of padding are added.
        scale: of the weights.
        tolerance: how far the outputs may move with padding.
    Returns:
        the outputs, arrays in their own nest.
    """
    fill(model, scale)
    expected = arrays(program(model)(inputs))
    for static, dynamic in zip(keras.tree.flatten(model.output), keras.tree.flatten(expected), strict=True):
        known = [ours in (None, theirs) for ours, theirs in zip(static.shape, dynamic.shape, strict=True)]
        assert all(known), f"static {static.shape}, dynamic {dynamic.shape}"
        assert keras.backend.standardize_dtype(static.dtype) == str(dynamic.dtype)
        spread = np.abs(dynamic - dynamic[:1])[1:] if real is None else np.abs(dynamic - dynamic[:1])[1:, 0]
        assert spread.max() > 1e-4, "the model must not be indifferent to its input"

    if pads is not None:
        wider = {name: _padded(x, pads[name], more) for name, x in inputs.items()} if isinstance(inputs, dict) else None
        padded = arrays(program(model)(_padded(inputs, pads, more) if wider is None else wider))
        for ours, theirs in zip(keras.tree.flatten(padded), keras.tree.flatten(expected), strict=True):
            ours = ours[::-1]
            if real is not None:
                ours, theirs = ours[:, : theirs.shape[1]][real], theirs[real]
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)

    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(array(ours), array(theirs), err_msg=theirs.path)
    if keras.backend.backend() != "tensorflow":
        return expected  # JAX would compile the loaded model too, which no backend makes another
    for ours, theirs in zip(
        keras.tree.flatten(arrays(program(loaded)(inputs))), keras.tree.flatten(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    return expected


def _padded(x, value, more):
    """The rows in reverse order, with more steps of padding; None: as long as they are."""
    x = x[::-1]
    if value is None:
        return x
    return np.pad(x, ((0, 0), (0, more), *[(0, 0)] * (x.ndim - 2)), constant_values=value)

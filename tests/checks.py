"""One check for every layer: what Keras promises of a layer, ours keep too."""

import inspect
import pathlib
import tempfile

import keras
import numpy as np
from keras import ops

from tests.reference import program

# JAX compiles each call of a layer for itself: there, what no backend has a part in is not checked again.
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


def check_layer(layer_or_factory, inputs, *, weights=True, half_tolerance=3e-2, save=True, graph=False):
    """Asserts: config round trip, `.keras` round trip, static = dynamic shape, one training step, both halves of
    mixed precision; and `check_protocol`. On JAX, where each call is compiled, the config alone, no file, and one half.

    Args:
        layer_or_factory: a layer, or a function without arguments that makes one.
        inputs: what the layer is called with, as NumPy arrays with a batch axis: one array, a tuple (positional
            arguments) or a dict (keyword arguments).
        weights: whether the layer has trainable weights, which a training step must change.
        half_tolerance: how far mixed_float16 may be from float32, absolute and relative; mixed_bfloat16, with three
            bits fewer, four times as far. None leaves the check out.
        save: whether to check the `.keras` file.
        graph: whether the training step is one of a graph, as in `fit`, which takes many times as long as an eager one:
            for one layer of each kind that no other test trains in a graph. JAX always compiles the step.
    Returns:
        The layer's outputs, NumPy arrays in its own nest.
    """
    if isinstance(layer_or_factory, keras.Layer):
        config = layer_or_factory.get_config()

        def make():
            return type(layer_or_factory).from_config(dict(config))
    else:
        make = layer_or_factory
    layer = make()
    outputs = _call(layer, inputs)
    expected = keras.tree.map_structure(_numpy, outputs)

    _check_config(layer, inputs, expected)
    check_protocol(layer, make, inputs, expected)
    if half_tolerance is not None:
        _check_half("float16", layer, make, inputs, expected, half_tolerance)
        if ON_TENSORFLOW:
            _check_half("bfloat16", layer, make, inputs, expected, 4 * half_tolerance)
    # A layer that has been built by a call, and one that is built by symbolic inputs.
    known, unknown = _Symbolic(layer, inputs, False), _Symbolic(make(), inputs, True)
    for symbolic in (known, unknown):
        _check_shapes(symbolic.outputs, expected)
    if save and ON_TENSORFLOW:
        _check_file(unknown, inputs)
    _check_training(known, inputs, weights, graph)
    return expected


def check_protocol(layer, make, inputs, expected):
    """Asserts of a layer that was called: `compute_output_shape` is the real shape, as is the new one's output spec.
    A layer of the tests' own around ours need not know it. Of a layer that is called with x alone: `build(shape)` makes
    the weights that a call makes; `keras.layers.TimeDistributed` makes them too, and gives each slice what the layer
    gives it."""
    of_tests = type(layer).__module__.startswith("tests")
    if of_tests and type(layer).compute_output_shape is keras.layers.Layer.compute_output_shape:
        return
    shapes = {f"{name}_shape": _shapes(x) for name, x in _arguments(layer, inputs).items() if name != "mask"}
    names = [name for name in inspect.signature(layer.compute_output_shape).parameters if name.endswith("_shape")]
    shapes = dict(zip(names, list(shapes.values())[:1], strict=False)) if len(names) == 1 else shapes
    assert _flat(layer.compute_output_shape(**shapes)) == _flat(_shapes(expected))
    x = next(iter(_arguments(layer, inputs).values()))
    if len(_arguments(layer, inputs)) > 1 or keras.tree.is_nested(x):
        return
    _check_shapes(make().compute_output_spec(_symbolic(x, False)), expected)
    by_hand = make()
    by_hand.build(x.shape)
    assert by_hand.built and by_hand.count_params() == layer.count_params()
    by_hand.set_weights(layer.get_weights())
    if ON_TENSORFLOW:
        _assert_close(_called(by_hand, inputs), expected, 1e-6)
        if not keras.tree.is_nested(expected):
            _check_slices(layer, make, x, expected)


def _check_slices(layer, make, x, expected):
    wrapper = keras.layers.TimeDistributed(make())
    slices = np.stack([x, x], axis=1)
    wrapper.build(slices.shape)
    wrapper.set_weights(layer.get_weights())
    assert tuple(wrapper.compute_output_shape(slices.shape)) == (len(x), 2, *expected.shape[1:])
    _assert_close(wrapper(slices)[:, 1], expected, 1e-6)


def _arguments(layer, inputs):
    """What the layer is called with, by name, masks of its own included."""
    if isinstance(inputs, dict):
        return inputs
    names = inspect.signature(layer.call).parameters
    return dict(zip(names, inputs if isinstance(inputs, tuple) else (inputs,), strict=False))


def _shapes(nest):
    return keras.tree.map_structure(lambda x: tuple(x.shape), nest)


def _flat(shapes):
    return keras.tree.flatten(keras.tree.map_shape_structure(tuple, shapes))


def _check_config(layer, inputs, expected):
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    _build(copy, inputs)
    shapes, expected_shapes = ([tuple(w.shape) for w in x.weights] for x in (copy, layer))
    assert shapes == expected_shapes, f"the config gives weights of shape {shapes}, not {expected_shapes}"
    copy.set_weights(layer.get_weights())
    if ON_TENSORFLOW:
        _assert_close(_call(copy, inputs), expected, 1e-6)


class _Symbolic:
    """A layer called on symbolic inputs, with all axes known or with the second unknown: it costs most of all here."""

    def __init__(self, layer, inputs, second_unknown):
        self.layer, self.inputs = layer, _symbolic(inputs, second_unknown)
        self.outputs = _called(self.layer, self.inputs)


def _check_shapes(outputs, expected):
    """Symbolic shapes must be the real ones where they are known."""
    for static, real in zip(keras.tree.flatten(outputs), keras.tree.flatten(expected), strict=True):
        assert len(static.shape) == real.ndim, f"static {static.shape}, real {real.shape}"
        for ours, theirs in zip(static.shape, real.shape, strict=True):
            assert ours in (None, theirs), f"static {static.shape}, real {real.shape}"
        assert keras.backend.standardize_dtype(static.dtype) == str(real.dtype)


def _check_file(symbolic, inputs):
    model = keras.Model(symbolic.inputs, symbolic.outputs)
    before = keras.tree.map_structure(_numpy, _call(model, (_tensors(inputs),)))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        loaded = keras.saving.load_model(path)
    _assert_close(_call(loaded, (_tensors(inputs),)), before, 1e-6)


def _check_training(symbolic, inputs, weights, graph):
    layer = symbolic.layer
    floats = [x for x in keras.tree.flatten(symbolic.outputs) if "float" in str(x.dtype)]
    # Squares of different weight, so that no gradient vanishes because the outputs add up to a constant.
    features = [ops.reshape(x, (-1, int(np.prod(x.shape[1:])))) for x in floats]  # (B, ...) -> (B, n)
    slopes = [np.linspace(0.5, 1.5, x.shape[-1], dtype="float32") for x in features]
    total = sum(ops.mean(ops.square(x) * slope, axis=-1) for x, slope in zip(features, slopes, strict=True))
    model = keras.Model(symbolic.inputs, total)
    model.compile("sgd", "mae", run_eagerly=not graph and ON_TENSORFLOW)
    model.optimizer.build(model.trainable_variables)  # TensorFlow traces twice what makes variables
    before = [_numpy(w) for w in layer.trainable_weights]
    batch = len(keras.tree.flatten(inputs)[0])
    loss = model.train_on_batch(_tensors(inputs), np.zeros(batch, "float32"))
    assert np.isfinite(loss)
    after = [_numpy(w) for w in layer.trainable_weights]
    assert bool(before) == weights, f"{len(before)} trainable weights, announced: {weights}"
    assert all(np.isfinite(w).all() for w in after)
    if weights:
        assert any((a != b).any() for a, b in zip(before, after, strict=True)), "a training step changed no weight"


def _check_half(dtype, layer, make, inputs, expected, tolerance):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{dtype}")
    try:
        config = layer.get_config()
        config["dtype"] = f"mixed_{dtype}"
        half = type(layer).from_config(config) if "dtype" in layer.get_config() else make()
        _build(half, inputs)
        half.set_weights(layer.get_weights())
        outputs = _call(half, inputs)
    finally:
        keras.config.set_dtype_policy(policy)
    assert all(keras.backend.standardize_dtype(w.dtype) != dtype for w in half.trainable_weights)
    _assert_close(outputs, expected, tolerance)


def _assert_close(outputs, expected, tolerance):
    for ours, theirs in zip(keras.tree.flatten(outputs), keras.tree.flatten(expected), strict=True):
        ours = _numpy(ours)
        assert ours.shape == theirs.shape
        if np.issubdtype(theirs.dtype, np.floating) or "float" in str(theirs.dtype):
            np.testing.assert_allclose(ours.astype("float32"), theirs, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(ours, theirs)


def _build(layer, inputs):
    """Gives a layer its weights in the way that is quicker: JAX would compile every operation of a call by itself."""
    _called(layer, inputs if ON_TENSORFLOW else _symbolic(inputs, False))


def _call(layer, inputs):
    """On JAX in one program, and weights are made outside of it."""
    if not ON_TENSORFLOW and not layer.built:
        _build(layer, inputs)
    return _called(program(layer), inputs)


def _called(layer, inputs):
    if isinstance(inputs, tuple):
        return layer(*inputs)
    return layer(**inputs) if isinstance(inputs, dict) else layer(inputs)


def _symbolic(inputs, second_unknown):
    def make(x, name=None):
        shape = list(x.shape[1:])
        if second_unknown and len(shape) > (0 if "int" in str(x.dtype) or x.dtype == bool else 1):
            shape[0] = None
        return keras.Input(shape, dtype=str(x.dtype), name=name)

    if isinstance(inputs, dict):
        return {name: make(x, name) for name, x in inputs.items()}
    return keras.tree.map_structure(make, inputs)


def _tensors(inputs):
    return keras.tree.map_structure(ops.convert_to_tensor, inputs)


def _numpy(x):
    return np.array(ops.convert_to_numpy(x))

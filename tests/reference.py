"""What the NumPy references of several tests share."""

import functools

import keras
import numpy as np
import pytest
from keras import ops


def tensorflow_only(reason):
    """Marks a test that on another backend would say nothing new, or cannot run there."""
    return pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason=reason)


def quick(cases, few):
    """All of the cases, a tuple for several arguments; those that are not among the few are for the long tests."""

    def param(case):
        return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)

    return [case if case in few else param(case) for case in cases]


def long_on_jax(test):
    """A test that is quick on TensorFlow; JAX compiles each operation of each shape, and there it is a long one."""
    return pytest.mark.long_on_jax(pytest.mark.long(test)) if keras.backend.backend() == "jax" else test


def backend_cases(cases, on_jax):
    """All of the cases; on JAX, which compiles every one of them, those that run code that the others do not."""
    return list(cases) if keras.backend.backend() == "tensorflow" else on_jax


def array(x):
    return ops.convert_to_numpy(x)


def arrays(nest):
    return keras.tree.map_structure(array, nest)


def spread(shape, start=0.0):
    """Numbers between -1 and 1 without a pattern that a transposition or a shift would keep: sin(start + 1, 2, ...)."""
    return np.sin(start + 1 + np.arange(np.prod(shape))).reshape(shape).astype("float32")


def fill(layer, scale=0.5):
    """Gives a built layer such weights, none of them zero or one, biases and norms included; returns the layer."""
    layer.set_weights([scale * spread(w.shape, start=7 * i) for i, w in enumerate(layer.get_weights())])
    return layer


def like(x):
    """What a layer is built by: the array, or on JAX, which would compile every operation by itself, its shape."""
    return x if keras.backend.backend() == "tensorflow" else keras.KerasTensor(x.shape, str(x.dtype))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def compiled(function):
    """JAX compiles an eager scan anew at each call; TensorFlow is quicker without compiling."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


@functools.lru_cache(8)
def program(layer):
    """A built layer or model as a function of tensors, which on JAX compiles once for each shape: its weights, which
    may change, are arguments, where `compiled(layer)` would keep those of its first call.
    """
    if keras.backend.backend() != "jax":
        return layer
    stateless = compiled(lambda weights, args, kwargs: layer.stateless_call(*weights, *args, **kwargs)[0])

    def call(*args, **kwargs):
        weights = [[v.value for v in each] for each in (layer.trainable_variables, layer.non_trainable_variables)]
        return stateless(weights, args, kwargs)

    return call


def in_graph(function):
    """For what is called with many inputs of one shape, or has a long loop: TensorFlow, too, makes a graph of it."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    return compiled(function)

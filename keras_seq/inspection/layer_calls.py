"""The calls of a model's layers, recorded while the model runs. The model is unchanged afterwards."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras


class LayerCall(NamedTuple):
    """One call of a layer.

    Attributes:
        path: names of the layers from the model to this one, as in `parameters.table`: "stack/forward_0".
        layer: the layer.
        arguments: positional arguments.
        outputs: its result, whose Keras mask is set after the call.
    """

    path: str
    layer: keras.Layer
    arguments: tuple
    outputs: Any


def sublayers(layer: Any) -> list[keras.Layer]:
    """The layers directly inside a layer or a model."""
    return [child for child in getattr(layer, "_layers", []) if isinstance(child, keras.Layer)]


def layer_paths(model: keras.Layer, children: Callable[[Any], list[Any]] = sublayers) -> dict[str, Any]:
    """The layers inside a model, at any depth, by their paths: "encoder/forward_0".

    A shared layer has its first path alone. A second layer with the path of another is "encoder/forward_0 (2)".

    Args:
        model: any Keras model or layer.
        children: function from a layer to the layers directly inside it, or to other objects with a `name`.
    """
    paths: dict[str, Any] = {}
    seen = {id(model)}

    def collect(layer: Any, above: list[str]) -> None:
        for child in children(layer):
            if id(child) in seen:
                continue
            seen.add(id(child))
            path, number = "/".join([*above, child.name]), 2
            while path in paths:
                path, number = "/".join([*above, f"{child.name} ({number})"]), number + 1
            paths[path] = child
            collect(child, [*above, child.name])

    collect(model, [])
    return paths


@contextlib.contextmanager
def replaced(replacements: list[tuple[Any, str, Callable]]) -> Iterator[None]:
    """Replaces methods of single objects, and restores them: `(object, name, function from the method to another)`."""
    before: list[tuple[dict, str, Any]] = []
    try:
        for each, name, wrap in replacements:
            method = getattr(each, name)
            before.append((vars(each), name, vars(each).get(name)))
            vars(each)[name] = wrap(method)  # not by setattr, which Keras tracks
        yield
    finally:
        for attributes, name, method in reversed(before):
            if method is None:
                del attributes[name]
            else:
                attributes[name] = method


@contextlib.contextmanager
def recorded(model: keras.Layer, wanted: Callable[[keras.Layer], bool] = lambda layer: True) -> Iterator[list]:
    """Records the calls of the layers that are wanted, in the order in which they end.

        with recorded(model) as calls:
            model(tokens)

    The model must run eagerly within it: `model(x)`, not `model.predict(x)`.

    Args:
        model: any Keras model or layer.
        wanted: which layers to record.
    Returns:
        a context manager that gives the list of each `LayerCall`.
    """
    calls: list[LayerCall] = []

    def recording(path, layer):
        def wrap(call):
            @functools.wraps(call)
            def wrapped(*arguments, **options):
                outputs = call(*arguments, **options)
                calls.append(LayerCall(path, layer, arguments, outputs))
                return outputs

            return wrapped

        return wrap

    with replaced(
        [(layer, "call", recording(path, layer)) for path, layer in layer_paths(model).items() if wanted(layer)]
    ):
        yield calls

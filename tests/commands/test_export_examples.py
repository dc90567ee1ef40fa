"""Example inputs by the shape of a model's input, the vocabularies and the columns of its task."""

import types

import keras
import pytest

from keras_seq.commands import export_examples


def spec(shape, dtype="float32"):
    return keras.KerasTensor(shape, dtype)


@pytest.mark.parametrize(
    ("x", "length", "shape", "most"),
    [
        (spec((None, None), "int32"), None, (2, 32), 9),  # tokens
        (spec((None, None), "int32"), 5, (2, 5), 9),
        (spec((None, None, None), "int32"), None, (2, 32, 16), 4),  # words of characters
        (spec((None, None, 12), "int32"), 5, (2, 5, 12), 4),
        (spec((None, None)), None, (2, 4000), 1),  # a second of sound
        (spec((None, None, 6, 6, 1)), None, (2, 10, 6, 6, 1), 1),  # a clip
        (spec((None, 7, 3)), None, (2, 7, 3), 1),
    ],
)
def test_example_inputs_have_the_shape_and_the_ids_of_the_model(x, length, shape, most):
    layers = [types.SimpleNamespace(sampling_rate=4000)]
    model = types.SimpleNamespace(inputs=[x], input=x, _flatten_layers=lambda: layers)
    sizes = {name: types.SimpleNamespace(size=size) for name, size in (("vocabulary", 9), ("characters", 4))}
    found = export_examples.example(types.SimpleNamespace(model=model, **sizes), 2, length)
    assert found.shape == shape and found.dtype == x.dtype
    least = 1 if x.dtype == "int32" else 0
    assert least <= found.min() < found.max() < most


@pytest.mark.parametrize(("columns", "steps"), [(None, 10), (types.SimpleNamespace(look_back=24), 24)])
def test_an_example_of_a_series_has_its_look_back(columns, steps):
    x = spec((None, None, 2))
    model = types.SimpleNamespace(inputs=[x], input={"past": x})
    task = types.SimpleNamespace(model=model, columns=columns)
    assert export_examples.example(task, 1, None)["past"].shape == (1, steps, 2)


def test_an_example_of_a_model_without_a_sampling_rate_has_8000_samples():
    x = spec((None, None))
    model = types.SimpleNamespace(inputs=[x], input=x, _flatten_layers=lambda: [])
    assert export_examples.example(types.SimpleNamespace(model=model), 1, None).shape == (1, 8000)


def test_a_language_model_is_shown_tokens():
    task = types.SimpleNamespace(model=types.SimpleNamespace(initial_state=None))
    found = export_examples.example(task, 3, None)  # without a vocabulary, ids below 4
    assert found.shape == (3, 32) and set(found.ravel()) == {1, 2, 3}

"""The folder of a failed step, around stand-ins for its model."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_seq.training import failed_step
from keras_seq.training.failed_step import load_step, save_step


class State:
    """A random state of a layer."""

    path = "dropout/seed_generator_state"

    def __init__(self, *value):
        self.value = np.array(value)

    def __array__(self, dtype=None, copy=None):
        return self.value

    def assign(self, value):
        self.value = value


def model(*states):
    layers = [keras.layers.Dense(1)]
    return SimpleNamespace(variables=list(states), _flatten_layers=lambda: layers, optimizer=None, save=print)


def save(folder, saved, batch, monkeypatch, **options):
    written = []
    monkeypatch.setattr(failed_step, "written_by_chief", lambda *given: written.append(given))
    path = save_step(folder, saved, batch, 12, {"loss": 0.5}, **options)
    return path, written


def test_random_states_come_back_as_far_as_they_were_saved(tmp_path, monkeypatch):
    batch = ({"x": np.ones((2, 3)), "none": None}, [np.arange(2)])
    saved = model(State(1, 2), State(3, 4))
    path, written = save(tmp_path, saved, batch, monkeypatch)
    assert path == tmp_path / "nan-step-12" and written == [(saved, path / "model.keras", print, True)]
    (path / "model.keras").touch()
    other = model(State(0, 0), State(0, 0), State(7, 7))
    monkeypatch.setattr(failed_step, "_load_model", lambda file, modules: other)
    found = load_step(path)
    assert [state.value.tolist() for state in other.variables] == [[1, 2], [3, 4], [7, 7]]
    assert found.model is other and found.facts == {"step": 12, "loss": 0.5}
    (inputs, (label,)) = found.batch
    assert inputs["x"].tolist() == [[1.0] * 3] * 2 and inputs["none"] is None and label.tolist() == [0, 1]


def test_workers_take_part_and_write_nothing_themselves(tmp_path, monkeypatch):
    path, written = save(tmp_path, model(), (np.ones(2),), monkeypatch, chief=False)
    assert written[0][1:] == (path / "model.keras", print, False)
    assert path == tmp_path / "nan-step-12" and not path.exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("bad\n  config", "model.keras could not be read: bad config$"),
        ("Could not locate class 'Mine'. Hi", "model.keras needs Mine, .* Import its module: --import my.layers$"),
        ("Could not locate function 'mine>own'.", "model.keras needs own, .* Name its module with --import.$"),
    ],
)
def test_a_model_that_keras_cannot_read(tmp_path, monkeypatch, error, message):
    def load_model(file):
        raise TypeError(error)

    monkeypatch.setattr(keras.models, "load_model", load_model)
    path, _ = save(tmp_path, model(), (np.ones(2),), monkeypatch)
    (path / "model.keras").touch()
    facts = json.loads((path / "step.json").read_text())
    (path / "step.json").write_text(json.dumps({**facts, "modules": {"Mine": "my.layers"}}))
    with pytest.raises(ValueError, match=message):
        load_step(path)

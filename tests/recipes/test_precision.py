"""Every recipe runs to its end in the narrower precisions: it trains, scores, samples and exports."""

import csv
import math

import keras
import pytest

from keras_seq import products
from recipes import (
    forecasting,
    language_model,
    memory,
    music,
    sentiment,
    speech,
    sutskever2014,
    tagging,
    translation,
    video,
)
from tests.recipes.pages import runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

COMMON = {"epochs": 1, "units": 8, "average": 1}
TINY = {
    translation: {"numbers": 40, "tokens_per_batch": 512, "num_beams": 2},
    sentiment: {"sentences": 60, "tokens_per_batch": 256},
    tagging: {"sentences": 40, "character_units": 8, "tokens_per_batch": 256},
    language_model: {"lines": 60, "num_layers": 1, "batch_size": 4, "block": 16, "sample_length": 12, "ngram": 2},
    forecasting: {"hours": 400, "look_back": 24, "horizon": (4,), "num_heads": 2},
    speech: {"takes": 20, "strings": 12, "copies": 1, "max_digits": 2},
    video: {"clips": 100, "filters": (4,), "frames": 4},
    music: {"pieces": 20},
    sutskever2014: {"numbers": 40, "num_beams": 2},
    memory: {"lengths": (2, 4), "examples": 40, "test_examples": 20, "num_layers": 1},
}


@pytest.fixture(autouse=True)
def policy_as_before(monkeypatch):
    before = keras.config.dtype_policy()
    monkeypatch.setattr(products, "SMALLEST", 1)  # so that "auto" rounds products of these models too
    monkeypatch.setattr(products, "is_faster", lambda: True)
    yield
    keras.config.set_dtype_policy(before)
    products.set_dtype("float32")


@pytest.mark.long
@pytest.mark.parametrize("precision", ["auto", "bfloat16", "float16"])
@pytest.mark.parametrize("module", TINY, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_recipe_runs_to_its_end(module, precision, tmp_path):
    run = runner(module, module.Options(**COMMON, **TINY[module]))(tmp_path, precision=precision)
    epochs = list(csv.DictReader((run / "history.csv").open()))
    assert epochs and all(math.isfinite(float(epoch["loss"])) for epoch in epochs)
    assert (run / "metrics.json").exists() and (tmp_path / "export" / "saved_model.pb").exists()

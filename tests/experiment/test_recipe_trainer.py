"""A recipe that trains many models on data that it reads once."""

import dataclasses
import json
import pathlib
import types

import keras
import keras_tuner
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

from keras_seq import experiment, tuning
from recipes import sentiment, tagging

SMALL = sentiment.Options(sentences=40, units=8)


def recipe(**functions):
    """The recipe sentiment with other functions."""
    names = ("Options", "with_defaults", "read", "train", "monitor")
    return types.SimpleNamespace(**{name: getattr(sentiment, name) for name in names} | functions)


def test_options_of_a_model_and_of_the_data():
    trainer = experiment.RecipeTrainer(recipe(), SMALL)
    options = trainer.options_of({"architecture": "rnn", "seed": 7}, run=pathlib.Path("a"))
    assert (options.architecture, options.seed, options.units, options.average) == ("rnn", 7, 8, 1)
    assert options.learning_rate == 1e-2  # the recipe's default
    assert {"sentences", "data_dir"} <= trainer.of_the_data and "units" not in trainer.of_the_data
    assert trainer.monitor == ("val_accuracy", "max") and trainer.data_name() == "generated"
    assert set(trainer.identity()["data"]) == {"train", "valid"}
    json.dumps(trainer.identity(), default=str)
    trainer.check_value("units", 5)
    with pytest.raises(TypeError):
        trainer.check_value("architecture", "mlp")


def test_a_recipe_trains_by_values_in_a_run_folder(tmp_path):
    seen = []

    def train(options, parts, run, scope, callbacks):
        seen.append((options.units, run.path, callbacks, set(parts)))
        return "task"

    trainer = experiment.RecipeTrainer(recipe(train=train), SMALL)
    assert trainer.train({"units": 6}, tmp_path / "run", ["callback"]) == "task"
    assert seen == [(6, tmp_path / "run", ["callback"], {"train", "valid", "test"})]
    assert json.loads((tmp_path / "run/config.json").read_text())["units"] == 6
    with pytest.raises(ValueError, match="`units` was 6, is now 4"):
        trainer.train({"units": 4}, tmp_path / "run")


def test_what_a_recipe_does_not_give_is_none():
    trainer = experiment.RecipeTrainer(recipe(), SMALL)
    assert trainer.chance() is None and trainer.scores_by_length({}, None) is None
    full = recipe(chance=lambda options, parts: 0.5, scores_by_length=lambda *_: ([3, 1, 3], [1.0, 0.0, 0.5]))
    trainer = experiment.RecipeTrainer(full, SMALL)
    assert trainer.chance() == 0.5
    assert [tuple(row.values()) for row in trainer.scores_by_length({}, None)] == [(1, 1, 1, 0.0), (3, 3, 2, 0.75)]


def test_a_recipe_of_tasks_without_a_data_folder():
    @dataclasses.dataclass(frozen=True)
    class Options(experiment.Options):
        task: str = "copy"

    functions = {"with_defaults": lambda options: options, "read": lambda options: {}}
    trainer = experiment.RecipeTrainer(recipe(Options=Options, **functions), Options(task="addition"))
    assert trainer.memory_task == trainer.data_name() == "addition"
    assert experiment.RecipeTrainer(recipe(), SMALL).memory_task is None


def test_folds_are_for_a_single_model():
    with pytest.raises(ValueError, match="leave it out. Received: 5"):
        experiment.RecipeTrainer(sentiment, sentiment.Options(folds=5))


def test_valid_widths():
    trainer = experiment.RecipeTrainer(recipe(), SMALL)  # in both directions, 4 heads
    assert [trainer.width_step(name) for name in ("lstm", "transformer")] == [2, 8]
    assert trainer.shape() == {"num_layers": 1, "num_heads": 4, "bidirectional": True}
    one_way = experiment.RecipeTrainer(tagging, tagging.Options(sentences=40, bidirectional=False, num_heads=3))
    assert [one_way.width_step(name) for name in ("lstm", "transformer")] == [1, 6]


def test_a_network_with_a_fixed_input_is_measured_where_a_recipe_has_one():
    assert experiment.RecipeTrainer(recipe(), SMALL).feedforward({}) is None
    full = recipe(feedforward=lambda options, parts, runs: (options.units, set(parts), runs))
    runs = {"lstm": pathlib.Path("a")}
    assert experiment.RecipeTrainer(full, SMALL).feedforward(runs) == (8, {"train", "valid", "test"}, runs)


def test_a_trial_trains_with_its_values_and_the_budget(tmp_path):
    hypermodel, calls = experiment.RecipeHyperModel(sentiment, SMALL), []
    trainer = hypermodel._trainer
    hypermodel._trainer = types.SimpleNamespace(
        train=lambda *args: calls.append(args), options_of=trainer.options_of, identity=trainer.identity
    )
    hp = keras_tuner.HyperParameters()
    hp.Fixed("units", 6)
    hp.values["tuner/epochs"] = 3  # of Hyperband
    budget = tuning.Budget(tokens=900.0, rounds=3)
    hypermodel.train(hp, tmp_path, budget, None, ["a callback"])
    values = {"budget_tokens": 900.0, "budget_seconds": None, "rounds": 3}
    assert calls == [({"units": 6, **values}, tmp_path, ["a callback"])]
    config = hypermodel.config({"units": 6}, budget)
    assert config["units"] == 6 and config["average"] == 3 and {name: config[name] for name in values} == values
    assert hypermodel.identity() == trainer.identity()

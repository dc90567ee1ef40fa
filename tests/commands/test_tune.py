"""`keras-seq tune`: the spaces of the recipes, a search, and what is refused before the first trial."""

import dataclasses
import importlib
import json
import re
import typing

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from keras_seq import tuning
from keras_seq.__main__ import RECIPES
from keras_seq.cli_config import convert
from tests.recipes.pages import Begun, end_at_the_fit

SMALL = ("--sentences", 60, "--units", 8, "--no-bidirectional", "--budget-tokens", 500, "--rounds", 2)
# One small model, whose searched options cost nothing.
SPACE = {"learning_rate": {"float": [1e-3, 1e-1], "log": True}, "tokens_per_batch": {"choice": [64, 128]}}


def test_help(keras_seq):
    page = keras_seq("tune", "--help").out
    assert all(f"  {name} " in page for name in RECIPES)
    assert "  tune " in keras_seq("--help").out
    found = keras_seq("tune", "memories")
    assert found.code == 2 and "there is no recipe 'memories'" in found.err
    page = keras_seq("tune", "tagging", "--help").out
    assert page.startswith("usage: keras-seq tune tagging") and "--trials" in page and "--character-units" in page


@pytest.mark.parametrize("name", RECIPES)
def test_the_space_of_a_recipe_has_its_options_and_begins_with_its_defaults(keras_seq, name):
    module = importlib.import_module(f"keras_seq.recipes.{name}")
    out = keras_seq("tune", name, "--show-space").out
    table, _, text = out.partition("\n\n")
    space = tuning.Space.from_json(json.loads(text))
    assert table == str(space)
    hints = typing.get_type_hints(module.Options)
    defaults = module.with_defaults(module.Options())
    for parameter in space:
        for value in parameter.values or (parameter.low, parameter.high):
            convert(hints[parameter.name], value, None)
        ours = getattr(defaults, parameter.name)
        if parameter.allows(ours) and not parameter.when:
            assert space.defaults()[parameter.name] == ours


@pytest.mark.long
@pytest.mark.parametrize("name", RECIPES)
def test_two_trials_of_each_recipe(keras_seq, tmp_path, name):
    small = {
        "translation": ("--numbers", 300, "--units", 16),
        "language_model": ("--lines", 200, "--sample-length", 9, "--ngram", 0),
        "sentiment": ("--sentences", 100),
        "tagging": ("--sentences", 100),
        "forecasting": ("--hours", 600),
        "speech": ("--takes", 30, "--strings", 40),
        "video": ("--clips", 120),
        "memory": ("--lengths", 2, 4, "--examples", 60, "--test-examples", 20),
        "music": ("--pieces", 40),
        "sutskever2014": ("--numbers", 40),
    }[name]
    budget = {"language_model": 12_000, "translation": 6_000, "sentiment": 6_000, "tagging": 6_000}.get(name, 300)
    flags = ("--budget-tokens", budget, "--rounds", 2, "--trials", 2, "--oracle", "random", "--run", tmp_path / "s")
    found = keras_seq("tune", name, *small, *flags)
    assert found.code == 0, found.err
    trials = tuning.read_trials(tmp_path / "s")
    assert {trial.status for trial in trials} <= {"completed", "invalid"}, [trial.reason for trial in trials]
    assert sum(trial.status == "completed" for trial in trials) == 2
    module = importlib.import_module(f"keras_seq.recipes.{name}")
    best = json.loads((tmp_path / "s/best.json").read_text())
    assert set(best) <= {field.name for field in dataclasses.fields(module.Options)}


@pytest.mark.long
def test_a_search_and_the_training_with_its_best_options(keras_seq, tmp_path, monkeypatch):
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    flags = (*SMALL, "--space", tmp_path / "space.json", "--oracle", "random", "--run", tmp_path / "search")
    found = keras_seq("tune", "sentiment", *flags, "--trials", 2)
    assert found.code == 0, found.err
    trials = tuning.read_trials(tmp_path / "search")
    assert [trial.status for trial in trials] == ["completed"] * 2
    assert all(500 <= trial.tokens < 500 + trial.values["tokens_per_batch"] for trial in trials)
    assert "Train with them: keras-seq train sentiment --config " in found.out
    best = json.loads((tmp_path / "search/best.json").read_text())
    assert best["learning_rate"] == tuning.best_of(trials, "max").values["learning_rate"]
    assert (best["units"], best["budget_tokens"], best["average"]) == (8, 500.0, 3)

    end_at_the_fit(monkeypatch)
    with pytest.raises(Begun):
        keras_seq("train", "sentiment", "--config", tmp_path / "search/best.json", "--run", tmp_path / "run")
    assert json.loads((tmp_path / "run/config.json").read_text()) == best

    other = keras_seq("tune", "sentiment", *flags, "--trials", 2, "--seed", 5)
    assert other.code == 2 and "holds another search" in other.err and other.err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trials", 3], "--budget-tokens is needed: the target tokens of each trial (or --budget-seconds)"),
        (["--budget-tokens", 9, "--space", {}], "The search space is empty"),
        (["--budget-tokens", 9, "--space", {"heads": {"choice": [2]}}], "`heads` is no option of the recipe. What can"),
        (["--budget-tokens", 9, "--space", {"seed": {"choice": [2]}}], "`seed` is the same in all trials"),
        (["--budget-tokens", 9, "--space", {"sentences": {"choice": [2]}}], "`sentences` is the same in all trials"),
        (["--budget-tokens", 9, "--space", {"units": {"choice": ["wide"]}}], "--units cannot be 'wide'"),
        (["--budget-tokens", 9, "--space", {"architecture": {"choice": ["mlp"]}}], "`architecture` cannot be 'mlp'"),
        (["--budget-tokens", 9, "--budget-seconds", 9], "Give one of"),
        (["--budget-tokens", -1], "above 0. Received: -1"),
        (["--budget-tokens", 9, "--trials", 0], "--trials must be at least 1"),
    ],
)
def test_one_line_for_what_is_wrong(keras_seq, tmp_path, flags, message):
    if isinstance(flags[-1], dict):
        (tmp_path / "space.json").write_text(json.dumps(flags[-1]))
        flags = [*flags[:-1], tmp_path / "space.json"]
    found = keras_seq("tune", "sentiment", "--sentences", 30, *flags, "--run", tmp_path / "search")
    assert found.code == 2 and found.err.count("\n") == 1, found.err
    plain = re.sub(r"--(architecture|seed|sentences)\b", r"`\1`", found.err)
    assert message in found.err or message in plain, found.err
    assert not (tmp_path / "search").exists()


def test_the_flags_make_a_search(keras_seq, tmp_path, monkeypatch):
    made = []

    class Tuner:
        def __init__(self, hypermodel, objective, **options):
            made.append({"objective": objective, **options})

        def search(self, workers):
            made[-1]["workers"] = workers

    monkeypatch.setattr(tuning, "Tuner", Tuner)
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    flags = (
        "--space",
        tmp_path / "space.json",
        "--trials",
        3,
        "--oracle",
        "random",
        "--workers",
        2,
        "--no-median-stopping",
        "--seed",
        5,
    )
    found = keras_seq("tune", "sentiment", *SMALL, *flags, "--run", tmp_path / "search")
    assert found.lines == [
        f"Train with them: keras-seq train sentiment --config {tmp_path / 'search/best.json'} --run DIR"
    ]
    (search,) = made
    assert search.pop("space").to_json() == SPACE and search.pop("directory") == tmp_path / "search"
    assert search == {
        **{"objective": None, "oracle": "random", "trials": 3, "tokens": 500, "seconds": None, "rounds": 2},
        **{"total_tokens": None, "stopping": None, "seed": 5, "overwrite": False, "workers": 2},
    }


def test_the_space_of_a_file_is_shown_in_place_of_the_recipes(keras_seq, tmp_path):
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    found = keras_seq("tune", "sentiment", "--show-space", "--space", tmp_path / "space.json")
    table, _, content = found.out.partition("\n\n")
    assert found.code == 0 and json.loads(content) == SPACE and "tokens_per_batch" in table and "units" not in table


@pytest.mark.long
def test_heads_that_do_not_divide_the_units_are_invalid(keras_seq, tmp_path):
    heads = {"num_heads": {"choice": [3, 2], "default": 3}, "learning_rate": {"float": [0.001, 0.01]}}
    (tmp_path / "space.json").write_text(json.dumps(heads))
    flags = (
        *SMALL,
        "--tokens-per-batch",
        64,
        "--architecture",
        "transformer",
        "--space",
        tmp_path / "space.json",
        "--oracle",
        "random",
    )
    found = keras_seq("tune", "sentiment", *flags, "--trials", 1, "--run", tmp_path / "search")
    assert found.code == 0, found.err
    trials = tuning.read_trials(tmp_path / "search")
    assert trials[0].status == "invalid" and "num_heads" in trials[0].reason
    assert trials[-1].status == "completed" and trials[-1].values["num_heads"] == 2

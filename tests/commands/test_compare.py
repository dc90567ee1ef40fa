"""`keras-seq compare`: its flags, what is refused before the first run, and a comparison of a recipe."""

import dataclasses
import json
import types

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from keras_seq import comparison, experiment
from keras_seq.__main__ import NOT_COMPARED, RECIPES
from keras_seq.architectures import ARCHITECTURES
from keras_seq.commands.compare import architectures_of, compare_options, trainer
from recipes import compare as recipe
from recipes import forecasting, language_model, sentiment, tagging

SMALL = ("--sentences", 60, "--units", 8)


@pytest.fixture
def planned(monkeypatch):
    """The comparisons that would have been run: the options of the recipe, the plan, the folder, the arguments."""
    plans = []

    class Planned:
        def __init__(self, make, plan, directory, overwrite):
            plans.append([make.args[1], plan, directory])

        def run(self, *arguments):
            plans[-1].append(arguments)

    monkeypatch.setattr(comparison, "Comparison", Planned)
    return plans


def test_help(keras_seq):
    page = keras_seq("compare", "--help").out
    assert all(f"  {name} " in page for name in RECIPES if name not in NOT_COMPARED)
    assert not any(f"  {name} " in page for name in NOT_COMPARED)
    assert "  compare " in keras_seq("--help").out
    found = keras_seq("compare", "speech")
    assert found.code == 2 and "the recipe 'speech' cannot be compared" in found.err
    found = keras_seq("compare", "--no-such-flag")  # without a name: memory
    assert found.code == 2 and "memory" in found.err and found.err.count("\n") == 1
    page = keras_seq("compare", "tagging", "--help").out
    assert page.startswith("usage: keras-seq compare tagging")
    assert all(flag in page for flag in ("--architectures", "--learning-rates", "--seeds", "--character-units"))


def test_all_architectures_of_a_recipe_are_compared():
    assert architectures_of(sentiment) == architectures_of(tagging) == (*ARCHITECTURES, "feedforward")
    assert architectures_of(language_model) == ARCHITECTURES
    assert compare_options(sentiment)().run.as_posix() == "runs/compare-sentiment"


def test_a_recipe_may_have_another_budget(planned, monkeypatch):
    recipe.main(["forecasting", "--hours", "600"])
    assert planned[0][0].budget_tokens == forecasting.COMPARED["budget_tokens"] == planned[0][1].budget["tokens"]
    monkeypatch.setattr(sentiment, "COMPARED", {"budget_seconds": 7}, raising=False)
    recipe.main(["sentiment", "--equal", "seconds"])
    recipe.main(["sentiment", "--equal", "seconds", "--budget-seconds", "8"])
    assert [options.budget_seconds for options, *_ in planned[1:]] == [7, 8]
    assert "(default: 30000)" in compare_options(forecasting).__dataclass_fields__["budget_tokens"].metadata["help"]


def test_the_flags_make_a_plan(keras_seq, planned, tmp_path):
    assert keras_seq("compare", "sentiment", *SMALL).code == 0
    options, plan, folder, arguments = planned[0]
    assert (options.budget_tokens, options.budget_seconds, options.rounds) == (400_000, None, 5)
    assert plan == comparison.Plan(
        (*ARCHITECTURES, "feedforward"), (1e-3, 3e-3, 1e-2), (1, 2), {"tokens": 4e5, "rounds": 5}, units=8,
        recipe="sentiment",
    )  # fmt: skip
    assert (folder.as_posix(), arguments) == ("runs/compare-sentiment", (None, True))

    flags = ("--architectures", "rnn", "lstm", "--learning-rates", "1e-2", "--seeds", 7, 8, "--equal", "seconds")
    flags += ("--budget-seconds", 9, "--rounds", 2, "--workers", 3, "--no-measure", "--run", tmp_path / "c")
    assert keras_seq("compare", "tagging", *flags).code == 0
    options, plan, folder, arguments = planned[1]
    assert (options.budget_tokens, options.budget_seconds) == (None, 9)
    assert plan == comparison.Plan(
        ("rnn", "lstm"), (1e-2,), (7, 8), {"seconds": 9.0, "rounds": 2}, equal_parameters=False, units=32,
        recipe="tagging",
    )  # fmt: skip
    assert (folder, arguments) == (tmp_path / "c", (3, False))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--learning-rates", 0], "--learning-rates must be above 0. Received: 0.0"),
        (["--seeds", 1, 1], "--seeds must be one or more values, each once. Received: [1, 1]"),
        (["--architectures"], "--architectures must be one or more values, each once. Received: []"),
        (["--architectures", "gpt"], "invalid choice: 'gpt'"),
        (["--equal", "tokens", "seconds"], "--equal has tokens and seconds"),
        (["--budget-seconds", 5], "--budget-seconds is given, but --equal is parameters tokens. Use --budget-tokens."),
        (["--architecture", "lstm"], "--architecture is compared. Give its values by --architectures."),
        (["--learning-rate", 0.1], "--learning-rate is compared. Give its values by --learning-rates."),
        (["--parameters", -1], "--parameters must be above 0. Received: -1"),
        (["--tolerance", 0], "--tolerance must be above 0. Received: 0"),
    ],
)
def test_one_line_for_what_is_wrong(keras_seq, tmp_path, flags, message):
    found = keras_seq("compare", "sentiment", *SMALL, *flags, "--run", tmp_path / "c")
    assert found.code == 2 and found.err.count("\n") == 1 and message in found.err, found.err
    assert not (tmp_path / "c").exists()


def test_a_recipe_without_what_a_comparison_needs(capsys):
    @dataclasses.dataclass(frozen=True)
    class Options:
        units: int = 8

    module = types.SimpleNamespace(__name__="recipes.poems", Options=Options, read=None, train=None)
    with pytest.raises(SystemExit) as ended:
        compare_options(module)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: the recipe poems cannot be compared: it has no with_defaults, monitor, Options.architecture, "
        "Options.learning_rate.\n"
    )


def test_each_process_makes_the_trainer_of_the_recipe(monkeypatch):
    monkeypatch.setattr(experiment, "RecipeTrainer", lambda module, options: (module, options), raising=False)
    assert trainer("recipes.sentiment", "options") == (sentiment, "options")


@pytest.mark.long
def test_a_comparison_of_a_recipe(tmp_path, capsys):
    flags = ["--sentences", "300", "--units", "16", "--tolerance", "0.1", "--budget-tokens", "3000", "--rounds", "2"]
    flags += ["--architectures", "rnn", "feedforward", "--learning-rates", "3e-3", "1e-2", "--seeds", "1"]
    recipe.main(["sentiment", *flags, "--run", str(tmp_path / "c")])
    out = capsys.readouterr().out
    assert out.count("accuracy 0.") == 4 and "4 of 4" in out
    record = json.loads((tmp_path / "c/comparison.json").read_text())
    assert (record["recipe"], record["data"]) == ("sentiment", "generated")
    first, second = record["architectures"]
    assert first["backbone_parameters"] == pytest.approx(second["backbone_parameters"], rel=0.2)
    for row in (first, second):
        assert row["formula_value"] == row["backbone_parameters"] < row["parameters"]
        assert all(run["status"] == "done" and 3_000 <= run["tokens"] < 4_024 for run in row["runs"])
        cost = row["cost"]
        assert all(cost[name] > 0 for name in ("first_step_seconds", "seconds_per_token", "peak_bytes"))
        assert sum(each["rows"] for each in row["quality_by_length"]) == 300
    assert [each["length"] for each in first["cost"]["generation"]] == [16, 64, 256, 512]
    assert "generation" not in second["cost"]  # it has no state

"""`keras-seq train`: the recipes of the installed package."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from keras_seq import cli, experiment
from keras_seq.__main__ import RECIPES
from tests.recipes.pages import Begun, end_at_the_fit


def test_help_and_names(keras_seq):
    page = keras_seq("train", "--help").out
    assert all(f"  {name} " in page for name in RECIPES) and "train" in keras_seq("--help").out
    for argv, told in ((["cooking"], "there is no recipe 'cooking'"), ([], "the name of a recipe is missing")):
        found = keras_seq("train", *argv)
        assert found.code == 2 and told in found.err and "translation" in found.err and found.err.count("\n") == 1
    found = keras_seq("train", "translation", "--help")
    assert found.out.startswith("usage: keras-seq train translation") and "--num-beams" in found.out


def test_a_recipe_of_the_package_is_that_of_the_checkout(keras_seq, monkeypatch, tmp_path):
    end_at_the_fit(monkeypatch)
    with pytest.raises(Begun):
        keras_seq("train", "sentiment", "--sentences", 30, "--units", 4, "--run", tmp_path / "run")
    assert (tmp_path / "run" / "config.json").exists()
    refused = keras_seq("train", "sentiment", "--sentences", 31, "--units", 4, "--run", tmp_path / "run")
    assert refused.code == 2 and "holds another run" in refused.err
    from keras_seq.recipes import sentiment

    assert sentiment.Options().recipe == "recipes.sentiment"


def test_who_stops_a_recipe_is_told_how_it_goes_on(capsys, tmp_path):
    def stopped(options):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        cli.run(stopped, experiment.Options, ["--run", str(tmp_path / "run")])
    told = capsys.readouterr().err
    assert ended.value.code == 130 and told.strip() == (
        f"Stopped. The same command resumes from the last checkpoint in {tmp_path / 'run'}."
    )

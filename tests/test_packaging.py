"""What an installed package has."""

import configparser
import pathlib
import subprocess
import sys

import pytest

from keras_seq import layers
from keras_seq.__main__ import RECIPES
from keras_seq.architectures import ARCHITECTURES

ROOT = pathlib.Path(__file__).parents[1]


def test_every_folder_of_the_package_is_installed_and_the_recipes_too():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "keras_seq").rglob("__init__.py")}
    assert listed == folders | {
        "keras_seq.recipes",
        *(f"keras_seq.recipes.{name}" for name in ("baselines", "findings", "public", "synthetic")),
    }
    assert setup["options"]["package_dir"].split() == ["keras_seq.recipes", "=", "recipes"]
    assert (ROOT / "keras_seq" / "py.typed").exists()


def test_recipes_are_named_and_import_each_other_relatively():
    pages = {path.stem for path in (ROOT / "recipes").glob("*.py") if "class Options" in path.read_text()}
    assert pages == set(RECIPES)
    assert not [path for path in (ROOT / "recipes").glob("*.py") if "from recipes import" in path.read_text()]


@pytest.mark.parametrize("name", RECIPES)
def test_the_options_of_a_recipe_need_no_tensorflow(name):
    """Help and errors about options come at once."""
    program = f"import recipes.{name} as recipe, sys; from keras_seq import cli; cli.flags(recipe.Options)"
    program += "; print([heavy for heavy in ('keras', 'tensorflow') if heavy in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True) == "[]\n"


def test_architectures_are_those_of_the_layers():
    assert layers.ARCHITECTURES == ARCHITECTURES == (*layers.CELLS, "transformer")


def test_a_recipe_asks_for_each_package_of_its_extra():
    from keras_seq.experiment.preparation import _PACKAGES

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = setup["options.extras_require"]["recipes"].split()
    assert set(_PACKAGES) == {line.split(">=")[0] for line in required} - {"keras-seq[audio]"}

"""Names: those of other libraries work, or the error names ours; and type checkers see those that load on first use."""

import ast
import pathlib
import subprocess
import sys

import pytest

import keras_seq
from keras_seq import data, decoding, inspection, layers, models, tasks, text

PARTS = (data, decoding, layers, models, tasks, text)

PACKAGE = pathlib.Path(layers.__file__).parents[1]
LAZY = (
    "__init__.py",
    "lazy.py",
    *(f"{part}/__init__.py" for part in ("distribution", "experiment", "inspection", "tasks")),
)


@pytest.mark.parametrize("part, name", [(part, name) for part in PARTS for name in sorted(part._INSTEAD)])
def test_an_unknown_name_is_answered_with_ours(part, name):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'. Use ") as error:
        getattr(part, name)
    words = str(error.value).split("Use ")[1].replace(",", " ").replace("(", " ").split()
    ours = [word for word in words if word in part.__all__]
    assert ours and name not in part.__all__


def test_any_other_name_is_answered_without_advice():
    for part in (keras_seq, *PARTS):
        with pytest.raises(AttributeError, match="has no attribute 'Nothing'$"):
            part.Nothing  # noqa: B018
    with pytest.raises(AttributeError, match="Use keras_seq.load for a task"):
        keras_seq.load_model  # noqa: B018


def test_an_option_of_another_library_is_answered_with_ours():
    with pytest.raises(ValueError, match="Received: beam_width. Use num_beams for beam_width.$"):
        decoding.get_search("beam", beam_width=3)
    with pytest.raises(ValueError, match="Received: beam_width.$"):
        decoding.get_search("greedy", beam_width=3)


def test_inspection_loads_its_parts_when_they_are_used():
    program = "import sys, keras_seq; keras_seq.inspection.plots.learning_curve; assert 'keras' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        inspection.nothing  # noqa: B018


@pytest.mark.parametrize("file", LAZY)
def test_type_checkers_see_the_names_that_load_on_first_use(file):
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if ast.unparse(node).startswith("if TYPE_CHECKING:"))
    seen = {}  # name -> what is imported as it
    for statement in block.body:
        for alias in statement.names:
            seen[alias.asname or alias.name] = f"{getattr(statement, 'module', '')}.{alias.name}".lstrip(".")

    tables = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    listed = ast.literal_eval(tables["__all__"])
    assert sorted(listed) == sorted([*seen, *(["serialization"] if file == "__init__.py" else [])])

    package = ".".join(["keras_seq", *pathlib.Path(file).parts[:-1]])
    loaded = {name: f"{package}.{name}" for name in seen}
    if "_HOME" in tables:
        loaded = {name: f"{package}.{home}.{name}" for name, home in ast.literal_eval(tables["_HOME"]).items()}
    elif file == "lazy.py":
        loaded |= ast.literal_eval(tables["_MODULES"])
    elif file == "__init__.py":
        loaded["load"] = "keras_seq.tasks.load"
    assert seen == loaded

"""Keeps the law of docs/architecture.md: who may import whom, and where TensorFlow may be imported."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "keras_seq"
FILES = sorted(PACKAGE.rglob("*.py"))
# A part that is not named here imports no other part. The command line, and what recipes share, import what they like.
MAY_IMPORT = {
    "data": {"word_features"},
    "text": {"word_features"},
    "layers": {
        "architectures",
        "deferred_logits",
        "labels",
        "losses",
        "products",
    },  # a CRF's loss is a loss like the others
    "models": {"layers", "optimizers"},  # a model's file names the optimizer that it was compiled with
    "crossentropy": set(),
    "deferred_logits": {"crossentropy", "labels", "products"},
    "distribution": {"products"},
    "products": set(),
    # The metric of a loss is that loss's own number.
    "metrics": {"crossentropy", "deferred_logits", "labels", "losses"},
    "tasks": {"data", "decoding", "models", "text", "training", "word_features"},
    "losses": {"class_weight", "crossentropy", "deferred_logits", "labels"},  # refused where losses are imported
    "export": {"tasks", "decoding", "training"},  # a model card reads the run folder
    "series_options": {"cli", "data"},  # flags of a verb and of a recipe
    "__init__": {"serialization", "tasks"},  # the names that Keras looks up, and keras_seq.load
    "inspection": {"layers", "models"},
    "comparison": {"architectures", "cli", "data", "distribution", "inspection", "layers", "training"},
    "callbacks": {"data", "distribution", "scores"},
    "training": {"data", "distribution", "optimizers", "scores"},
    "serving": {"quiet", "tasks"},
    "tuning": {"cli", "data", "distribution", "inspection", "training"},
}
TENSORFLOW = ("text", "data", "training", "distribution", "export", "tasks", "commands", "experiment", "optimizers")
TENSORFLOW += ("layers.recurrent_tensorflow", "lazy", "tuning", "comparison", "inspection.gradients")
TENSORFLOW += ("serving.answering", "decoding.loops_tensorflow")
# For errors in a graph, and for operations that `keras.ops` lacks.
WITHIN_FUNCTIONS = ("losses", "labels", "class_weight", "crossentropy", "deferred_logits", "products")


def imported(tree: ast.AST, package: list[str]) -> set[str]:
    """The dotted names of all that is imported anywhere in the tree, relative imports made absolute."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level], node.module] if node.level else [node.module]
            base = ".".join(filter(None, base))
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def is_tensorflow(name: str) -> bool:
    return name.split(".")[0] in ("tensorflow", "tensorflow_text")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_law_of_imports(path):
    module = path.relative_to(PACKAGE).with_suffix("").parts
    package = ["keras_seq", *module[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path == PACKAGE / "__init__.py":  # it names all parts to type checkers, and imports none of them
        tree.body = [node for node in tree.body if ast.unparse(node).split("\n")[0] != "if TYPE_CHECKING:"]
    names = imported(tree, package)

    part = module[0]
    if part not in ("cli", "__main__", "commands", "experiment", "lazy"):
        ours = {name.split(".")[1] for name in names if name.startswith("keras_seq.")} - {part, "__version__"}
        assert ours <= MAY_IMPORT.get(part, set()), f"{part} imports {ours}"

    if part not in ("__main__", "commands"):
        assert "keras_seq.commands" not in {".".join(name.split(".")[:2]) for name in names}, "nobody imports commands"

    dotted = ".".join(module)
    if not any(dotted == allowed or dotted.startswith(allowed + ".") for allowed in TENSORFLOW):
        at_once = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        seen = imported(at_once, package) if part in WITHIN_FUNCTIONS else names
        assert not any(map(is_tensorflow, seen)), f"{dotted} imports TensorFlow"


def test_the_walk_sees_imports():
    tree = ast.parse(
        "import tensorflow as tf\nfrom ..layers import masks\nfrom keras_seq import data\ndef f(): import a.b"
    )
    assert imported(tree, ["keras_seq", "models"]) == {
        "tensorflow",
        "keras_seq.layers.masks",
        "keras_seq.data",
        "a.b",
    }
    assert len(FILES) > 10

"""Nothing in the package or the recipes unpickles, runs text as code, or turns Keras's `safe_mode` off."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(path for part in ("keras_seq", "recipes") for path in (ROOT / part).rglob("*.py"))
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "enable_unsafe_deserialization", "func_load"}
ARGUMENTS = {"allow_pickle": True, "safe_mode": False, "shell": True, "weights_only": False}


def dangers(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found |= {name for name in names if name.split(".")[0] in MODULES}
        elif isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute) and function.attr in CALLS - {"compile", "eval", "exec"}:
                found.add(function.attr)
            elif isinstance(function, ast.Name) and function.id in CALLS:
                found.add(function.id)
            for keyword in node.keywords:
                harmless = isinstance(keyword.value, ast.Constant) and keyword.value.value is not ARGUMENTS.get(
                    keyword.arg
                )
                if keyword.arg in ARGUMENTS and not harmless:
                    found.add(keyword.arg)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_but_our_own(path):
    assert not dangers(ast.parse(path.read_text(encoding="utf-8")))


def test_the_walk_sees_dangers():
    for line in (
        "import pickle",
        "from yaml import load",
        "eval('1')",
        "os.system('ls')",
        "np.load(x, allow_pickle=True)",
        "np.load(x, allow_pickle=flag)",
        "keras.models.load_model(x, safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()",
        "subprocess.run(x, shell=True)",
    ):
        assert dangers(ast.parse(line)), line
    for line in ("model.compile('adam')", "np.load(x, allow_pickle=False)", "platform.system", "re.compile('x')"):
        assert not dangers(ast.parse(line)), line
    assert len(FILES) > 50

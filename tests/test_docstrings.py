"""The examples in the docstrings of public names: each runs and prints what stands below it."""

import ast
import doctest
import importlib
import inspect
import itertools

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the examples use TensorFlow", allow_module_level=True)

import tensorflow as tf

import keras_seq
from docs.site import reference

# Parts with an example for every name: those whose meaning is a number.
WITH_EXAMPLES = ("keras_seq.losses", "keras_seq.metrics", "keras_seq.schedules", "keras_seq.scores")
BASES = ("Score", "SpanScore", "TokenMean", "WeightedLoss")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def docstring(home: str, name: str) -> str:
    """The docstring of a public name, without importing it."""
    for node in reference.tree(home).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return inspect.cleandoc(ast.get_docstring(node) or "")
    return ""


DOCSTRINGS = {
    f"{part}.{name}": docstring(home, name)
    for part in reference.parts()
    for name, home in reference.homes(part).items()
}


def example(text: str) -> str:
    """The section `Example:` of a docstring."""
    lines = itertools.dropwhile(lambda line: line != "Example:", text.split("\n"))
    body = itertools.takewhile(lambda line: not line or line.startswith(" "), itertools.islice(lines, 1, None))
    return inspect.cleandoc("\n".join(["", *body]))


EXAMPLES = {name: found for name, text in sorted(DOCSTRINGS.items()) if (found := example(text))}


def names() -> dict:
    """What the page "API" says that every example begins with."""
    parts = {name: importlib.import_module(f"keras_seq.{name}") for name in reference.EXAMPLES_IMPORT}
    return {"keras": keras, "np": np, "tf": tf, "keras_seq": keras_seq, **parts}


def errors(text: str, name: str) -> str:
    """What differs between an example's output and what stands below it. Empty if nothing does."""
    found: list[str] = []
    test = doctest.DocTestParser().get_doctest(text, names(), name, None, None)
    doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=found.append)
    return "".join(found)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_docstring_prints_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert errors(EXAMPLES[name], name) == ""


def test_no_example_stands_outside_of_its_section():
    assert not [name for name, text in DOCSTRINGS.items() if text.count(">>>") != EXAMPLES.get(name, "").count(">>>")]


def test_a_wrong_example_is_found():
    right = ">>> scores.accuracy(['a'], ['a'])\n1.0\n"
    assert errors(right, "right") == ""
    assert "Expected:\n    0.5\nGot:\n    1.0" in errors(right.replace("1.0\n", "0.5\n"), "wrong")
    assert "NameError" in errors(">>> nothing\n", "wrong")


def test_the_main_names_have_an_example():
    missing = [
        name
        for name in DOCSTRINGS
        if name.rpartition(".")[0] in WITH_EXAMPLES and name.rpartition(".")[2] not in BASES and name not in EXAMPLES
    ]
    assert not missing
    assert len(EXAMPLES) > 60
    page = reference.pages()["api/index.md"]
    assert f"from keras_seq import {', '.join(reference.EXAMPLES_IMPORT)}" in page

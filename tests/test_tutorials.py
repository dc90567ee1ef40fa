"""The tutorials of docs/tutorials: they compile, are pages of the site, show the outputs of their code, and run."""

import ast
import json
import re

import pytest

pytest.importorskip("jupytext", reason="the extra `docs`")

from docs.site import tutorials

ROOT = tutorials.ROOT
REPOSITORY = "somebody/something"
NAMES = tutorials.names()
LIMIT = 180  # seconds of processor time, on one thread
# Figures that a run prints: a pattern, and their smallest or largest value.
REACHED = {
    "exporting": [(r"after 'three two' comes \['(o)ne'\]", None, None)],
    "forecasting": [(r"inside the band: ([\d.]+)%", 65, 92)],
    "language_model": [(r"([\d.]+) nats per character", 0.13, 0.2)],
    "own_cell": [(r"bias -3: test accuracy (\d+)%", 90, None), (r"bias  0: test accuracy (\d+)%", None, 75)],
    "sentiment": [(r"test accuracy (\d+)%", 95, None)],
    "speech": [(r"word error rate ([\d.]+)%", None, 15)],
    "translation": [(r"exact match ([\d.]+)%", 90, None)],
    "tuning": [(r"validation accuracy (\d+)%", 80, None)],
    "workers": [(r"2 workers, largest difference from one device: (\S+)", None, 2e-5), (r"(T)he same\.", None, None)],
}


def cells(name: str, kind: str) -> list[str]:
    return [cell.source for cell in tutorials.read(name).cells if cell.cell_type == kind]


def reached(name: str, printed: str) -> list[str]:
    """The figures that are not printed, or are out of their range."""
    missed = []
    for pattern, least, most in REACHED[name]:
        found = re.search(pattern, printed)
        value = found and (None if least is most is None else float(found[1]))
        if not found or (least is not None and value < least) or (most is not None and value > most):
            missed.append(f"{pattern}: {found and found[0]}")
    return missed


def test_each_tutorial_has_a_page_in_the_navigation_and_figures_to_reach():
    navigation = (ROOT / "docs/site/mkdocs.yml").read_text(encoding="utf-8")
    pages = re.findall(rf"{tutorials.FOLDER}/(\w+)\.md", navigation)
    assert sorted(pages) == NAMES == sorted(REACHED)


@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_compiles_and_teaches_in_words(name):
    code, text = cells(name, "code"), cells(name, "markdown")
    for source in code:
        ast.parse(source)
    assert text[0].startswith("# ") and text[-1].count("## Next\n") == 1
    assert len(code) > 4 and len(text) > 4
    assert not re.search(r"https?://|urlopen|download|fetch\(", "\n".join(code))  # all data is made here


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_tutorial_lead_to_pages(name):
    for text in cells(name, "markdown"):
        for match in tutorials.LINK.finditer(text):
            path = (ROOT / tutorials.FOLDER / match["target"]).resolve()
            source = path.with_suffix(".py") if path.parent == ROOT / tutorials.FOLDER else path
            assert source.is_file(), f"{name} links to {match['target']}"


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_the_outputs_of_the_code_and_a_link_to_colab(name):
    page = tutorials.page(name, REPOSITORY)
    address = f"https://colab.research.google.com/github/{REPOSITORY}/blob/gh-pages/latest/docs/tutorials/{name}.ipynb"
    assert page.startswith("# ") and f"[Open in Colab]({address})" in page and f"({name}.ipynb)" in page
    images = re.findall(r"\(outputs/(\S+)\)", page)
    assert sorted(images) == sorted(path.name for path in tutorials.OUTPUTS.glob(f"{name}-*.png"))
    assert not reached(name, page)
    assert tutorials.stored(name)["seconds"] < LIMIT


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_stands_alone(name):
    notebook = json.loads(tutorials.notebook_file(name, REPOSITORY))
    first, install, *others = notebook["cells"]
    assert first["cell_type"] == "markdown" and f"git+https://github.com/{REPOSITORY}" in "".join(install["source"])
    text = "".join(line for cell in others for line in cell["source"] if cell["cell_type"] == "markdown")
    assert f"](https://github.com/{REPOSITORY}/blob/main/docs/" in text and "](.." not in text
    images = [output for cell in others for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(images) == len(list(tutorials.OUTPUTS.glob(f"{name}-*.png")))


def test_changed_code_is_not_shown_with_old_outputs(monkeypatch):
    notebook = tutorials.read("sentiment")
    assert tutorials.outputs_of("sentiment", notebook)
    next(cell for cell in notebook.cells if cell.cell_type == "code").source += "\nprint(1)"
    with pytest.raises(
        ValueError, match=r"has changed since its last run. Run python -m docs.site.tutorials sentiment"
    ):
        tutorials.outputs_of("sentiment", notebook)


def test_outputs_are_stored_in_the_order_of_the_cells(tmp_path, monkeypatch):
    from nbformat import v4

    monkeypatch.setattr(tutorials, "OUTPUTS", tmp_path)
    (tmp_path / "a-2.png").write_bytes(b"old")
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# A"), v4.new_code_cell("f()"), v4.new_code_cell("g()")])
    prints = [v4.new_output("stream", name=name, text=text) for name, text in (("stdout", "1\n"), ("stdout", "2\n"))]
    noise = v4.new_output("stream", name="stderr", text="W0000")
    notebook.cells[1].outputs = [prints[0], noise, prints[1], v4.new_output("display_data", {"image/png": "cG5n"})]
    notebook.cells[2].outputs = [v4.new_output("execute_result", {"text/plain": "(3,)"})]
    tutorials.store("a", notebook, 1.6)
    assert tutorials.stored("a") == {
        "seconds": 2,
        "cells": [
            {"code": tutorials.digest("f()"), "outputs": [{"text": "1\n2\n"}, {"image": "a-1.png"}]},
            {"code": tutorials.digest("g()"), "outputs": [{"text": "(3,)"}]},
        ],
    }
    assert (tmp_path / "a-1.png").read_bytes() == b"png" and not (tmp_path / "a-2.png").exists()


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_runs_and_reaches_its_figures(name):
    pytest.importorskip("nbclient", reason="the extra `docs`")
    pytest.importorskip("ipykernel", reason="the extra `docs`")
    for package in {"tuning": ["keras_tuner"], "exporting": ["ctranslate2", "tf2onnx", "onnxruntime"]}.get(name, []):
        pytest.importorskip(package)
    notebook, seconds = tutorials.run(name)
    assert not reached(name, tutorials.printed(notebook))
    assert seconds < LIMIT

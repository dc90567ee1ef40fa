"""The tutorials of docs/tutorials as pages of the site and as notebooks, with their outputs.

    python -m docs.site.tutorials [NAME ...]

runs tutorials on one thread and stores their outputs in docs/tutorials/outputs. The site shows these, so that it is
built without running anything. The digest of each cell's code tells whether its outputs are those of the code.
"""

import base64
import hashlib
import json
import os
import pathlib
import re
import resource
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = "docs/tutorials"
OUTPUTS = ROOT / FOLDER / "outputs"
LINK = re.compile(r"\]\((?!https?:)(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
INSTALL = """# In Colab: install the package.
import importlib.util

if importlib.util.find_spec("keras_seq") is None:
    %pip install --quiet "keras-seq[recipes,tuning,onnx,ctranslate2] @ git+https://github.com/{repository}\""""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
CELL_TIMEOUT = 900  # seconds


def names() -> list[str]:
    return sorted(path.stem for path in (ROOT / FOLDER).glob("*.py"))


def read(name: str) -> Any:
    """The notebook of a tutorial, without outputs."""
    import jupytext

    notebook = jupytext.read(ROOT / FOLDER / f"{name}.py")
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # the same at every build
    return notebook


def digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def stored(name: str) -> dict[str, Any]:
    """The last run: `seconds` of processor time and, for each cell of code, its digest, text and images."""
    file = OUTPUTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"seconds": None, "cells": []}


def outputs_of(name: str, notebook: Any) -> list[dict[str, Any]]:
    """The stored outputs of each cell of code."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    cells = stored(name)["cells"]
    if [cell["code"] for cell in cells] != [digest(source) for source in code]:
        raise ValueError(f"{FOLDER}/{name}.py has changed since its last run. Run python -m docs.site.tutorials {name}")
    return cells


def page(name: str, repository: str) -> str:
    """The Markdown of a tutorial: its text, its code and its outputs."""
    notebook = read(name)
    outputs = iter(outputs_of(name, notebook))
    blocks = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            blocks.append(cell.source)
            continue
        blocks.append(f"```python\n{cell.source}\n```")
        for output in next(outputs)["outputs"]:
            if "image" in output:
                blocks.append(f"![The plot of the code above](outputs/{output['image']})")
            else:
                blocks.append(f"```text\n{output['text'].rstrip()}\n```")
    title, _, rest = blocks[0].partition("\n")
    links = f"[Open in Colab]({colab(name, repository)}) · [Download the notebook]({name}.ipynb)"
    seconds = f"It ran in {stored(name)['seconds']:.0f} seconds of processor time, on one thread."
    return "\n\n".join([title, f"{links}\n\n{seconds}", rest.strip(), *blocks[1:]]) + "\n"


def colab(name: str, repository: str) -> str:
    """The address that opens the notebook of the published site."""
    return f"https://colab.research.google.com/github/{repository}/blob/gh-pages/latest/{FOLDER}/{name}.ipynb"


def notebook_file(name: str, repository: str) -> str:
    """The `.ipynb` of a tutorial, with its outputs, absolute links, and a first cell that installs the package."""
    import nbformat
    from nbformat import v4

    notebook = read(name)
    outputs = iter(outputs_of(name, notebook))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_absolute_links(cell.source, repository)
        else:
            cell.outputs = [as_output(v4, output) for output in next(outputs)["outputs"]]
    install = v4.new_code_cell(INSTALL.format(repository=repository))
    install["id"] = "install"
    notebook.cells.insert(1, install)
    return nbformat.writes(notebook) + "\n"


def as_output(v4: Any, output: dict[str, str]) -> Any:
    if "text" in output:
        return v4.new_output("stream", name="stdout", text=output["text"])
    image = base64.b64encode((OUTPUTS / output["image"]).read_bytes()).decode()
    return v4.new_output("display_data", {"image/png": image})


def with_absolute_links(markdown: str, repository: str) -> str:
    """Links to pages lead to the repository, since a notebook stands alone."""

    def absolute(match: re.Match) -> str:
        path = (ROOT / FOLDER / match["target"]).resolve()
        source = path.with_suffix(".py") if path.parent == ROOT / FOLDER else path
        return f"](https://github.com/{repository}/blob/main/{source.relative_to(ROOT)}{match['anchor'] or ''})"

    return LINK.sub(absolute, markdown)


def run(name: str) -> tuple[Any, float]:
    """Runs a tutorial in a new folder, on one thread: the notebook with its outputs, and seconds of processor time.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    from nbclient import NotebookClient

    notebook, before = read(name), spent()
    environment = os.environ | ONE_THREAD | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # A command `python` of a notebook is the interpreter of its kernel.
    environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), environment.get("PATH", "")])
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        client = NotebookClient(notebook, timeout=CELL_TIMEOUT, resources={"metadata": {"path": folder}})
        client.execute(env=environment)
    return notebook, spent() - before


def spent() -> float:
    """The processor time of all processes that this one has waited for, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def printed(notebook: Any) -> str:
    """All that a run printed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return "".join(
        output.get("text", "") for cell in cells for output in cell.outputs if output.get("name") == "stdout"
    )


def store(name: str, notebook: Any, seconds: float) -> None:
    """Writes the outputs of a run: printed text, and images as files."""
    OUTPUTS.mkdir(exist_ok=True)
    for old in OUTPUTS.glob(f"{name}-*.png"):
        old.unlink()
    cells, images = [], 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        shown: list[dict[str, str]] = []
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                images += 1
                shown.append({"image": f"{name}-{images}.png"})
                (OUTPUTS / shown[-1]["image"]).write_bytes(base64.b64decode(data["image/png"]))
            elif "text/plain" in data:
                shown.append({"text": data["text/plain"]})
            elif output.get("name") == "stdout":
                if shown and "text" in shown[-1]:  # printed in pieces
                    shown[-1]["text"] += output["text"]
                else:
                    shown.append({"text": output["text"]})
        cells.append({"code": digest(cell.source), "outputs": shown})
    content = json.dumps({"seconds": round(seconds), "cells": cells}, indent=1, ensure_ascii=False)
    (OUTPUTS / f"{name}.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    for tutorial in sys.argv[1:] or names():
        executed, seconds = run(tutorial)
        store(tutorial, executed, seconds)
        print(f"{tutorial}: {seconds:.0f} s of processor time", flush=True)

"""The pages of the API reference: one for each public part, with an entry for each public name.

The names are read from the sources: `__all__`, or the public classes and functions of a module without it.
A new name therefore has its entry without further work. Nothing of keras_seq is imported.
"""

import ast
import functools
import inspect
import pathlib

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = "keras_seq"
BEYOND = ("comparison", "tuning")  # parts with heavy optional packages, which `keras_seq.__all__` leaves out
NOT_PARTS = ("load", "serialization")  # `load` has its entry in tasks; Keras alone calls serialization
EXAMPLES_IMPORT = ("data", "decoding", "inspection", "layers", "losses", "metrics", "models", "optimizers", "schedules")
EXAMPLES_IMPORT += ("scores", "tasks", "text")
MOST_ON_A_PAGE = 30  # a part with more names has a page for each of its files


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(source(module).read_text(encoding="utf-8"))


def source(module: str) -> pathlib.Path:
    """The file of a dotted module."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def listed(module: str) -> list[str] | None:
    """The names in `__all__` of a module, or None without it."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


def parts() -> list[str]:
    """The dotted names of the public parts, `keras_seq.inspection` replaced by its own parts."""
    names = sorted({*listed(PACKAGE), *BEYOND} - set(NOT_PARTS))
    found = []
    for name in names:
        inner = listed(f"{PACKAGE}.{name}") or []
        modules = [f"{PACKAGE}.{name}.{child}" for child in inner if source(f"{PACKAGE}.{name}.{child}").exists()]
        whole = name == "inspection" and len(modules) == len(inner)
        found += sorted(modules) if whole else [f"{PACKAGE}.{name}"]
    return found


def homes(part: str) -> dict[str, str]:
    """The public names of a part, and the module that defines each."""
    imported = {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree(part))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    public = listed(part)
    if public is None:
        return dict.fromkeys(defined(part), part)
    return {name: imported.get(name, part) for name in sorted(public, key=lambda name: (name.lower(), name))}


def defined(module: str) -> list[str]:
    """The public classes and functions of a module, in its order."""
    nodes = [node for node in tree(module).body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return [node.name for node in nodes if not node.name.startswith("_")]


def summary(home: str, name: str) -> str:
    """The first sentence of the docstring of a name, or nothing for a constant."""
    for node in tree(home).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            paragraph = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
            return paragraph.split(". ")[0].rstrip(".:").replace("|", "\\|")
    return ""


def introduction(module: str) -> str:
    return inspect.cleandoc(ast.get_docstring(tree(module)) or "")


def address(part: str) -> str:
    """`keras_seq.inspection.plots` to `inspection/plots`."""
    return part.removeprefix(f"{PACKAGE}.").replace(".", "/")


def pages() -> dict[str, str]:
    """The Markdown of each page, by its path below the root of the site."""
    written = {"api/index.md": index()}
    for part in parts():
        written |= part_pages(part)
    return written


def index() -> str:
    rows = [
        f"| [`{part}`]({address(part)}{'/index' if is_divided(part) else ''}.md) | {first_line(part)} |"
        for part in parts()
    ]
    return "\n".join(
        [
            "# API",
            "",
            "Every public name, by part, and every [error message](messages.md).",
            "",
            "| part | contents |",
            "|---|---|",
            *rows,
            "",
            "The examples are run by the tests. Each begins with",
            "",
            "```python",
            "import keras",
            "import numpy as np",
            "import tensorflow as tf",
            f"from keras_seq import {', '.join(EXAMPLES_IMPORT)}",
            "```",
            "",
        ]
    )


def first_line(part: str) -> str:
    return introduction(part).split("\n\n")[0].replace("\n", " ").rstrip(".").replace("|", "\\|")


def is_divided(part: str) -> bool:
    return len(homes(part)) > MOST_ON_A_PAGE


def part_pages(part: str) -> dict[str, str]:
    """One page, or for a large part an index and a page for each file."""
    names = homes(part)
    head = [f"# {part}", introduction(part)]
    if not is_divided(part):
        files = sorted({str(source(home).relative_to(ROOT)) for home in names.values()})
        text = [*head, table(part, names), *(entry(part, name) for name in names), defined_in(files)]
        return {f"api/{address(part)}.md": "\n\n".join(text) + "\n"}
    written, tables = {}, []
    for home in sorted(set(names.values())):
        own = {name: file for name, file in names.items() if file == home}
        title = home.rpartition(".")[2] if home != part else "functions"
        path = f"{address(part)}/{title}.md"
        tables.append(f"## [{heading(title)}]({title}.md)\n\n{table(part, own)}")
        body = [f"# {heading(title)}", introduction(home), *(entry(part, name) for name in own)]
        written[f"api/{path}"] = "\n\n".join([*body, defined_in([str(source(home).relative_to(ROOT))])]) + "\n"
    return {f"api/{address(part)}/index.md": "\n\n".join([*head, *tables]) + "\n", **written}


def heading(title: str) -> str:
    words = title.replace("_", " ")
    return {"ctc": "CTC", "crf": "CRF"}.get(words, words[0].upper() + words[1:])


def table(part: str, names: dict[str, str]) -> str:
    rows = [f"| [`{name}`][{part}.{name}] | {summary(home, name)} |" for name, home in names.items()]
    return "\n".join(["| name | purpose |", "|---|---|", *rows])


def entry(part: str, name: str) -> str:
    return f"::: {part}.{name}"


def defined_in(files: list[str]) -> str:
    return f"Defined in {', '.join(f'`{file}`' for file in files)}."

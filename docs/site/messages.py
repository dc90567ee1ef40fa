"""The page of all error messages and warnings of the package, so that a search of the site finds each."""

import ast
import pathlib
from collections.abc import Iterator

from docs.site import reference

WARNINGS = ("warn", "warning")


def page() -> str:
    """The Markdown of the page: the messages of each file, by part."""
    text = ["# Error messages", "Messages of the package, by the file that they come from. … stands for a value."]
    text += ["Common ones, with causes and remedies: [Error messages](../docs/guides/errors.md)."]
    for part, files in by_part().items():
        text.append(f"## {part}")
        for file in files:
            lines = list(dict.fromkeys(messages(file)))
            if lines:
                items = "\n".join(f"- {kind}: `` {message} ``" for kind, message in lines)
                text.append(f"### {file.relative_to(reference.ROOT)}\n\n{items}")
    return "\n\n".join(text) + "\n"


def by_part() -> dict[str, list[pathlib.Path]]:
    """The files of the package by the name of their part, without parts that raise nothing."""
    package = reference.source(reference.PACKAGE).parent
    found: dict[str, list[pathlib.Path]] = {}
    for file in sorted(package.rglob("*.py")):
        if any(messages(file)):
            found.setdefault(file.relative_to(package).parts[0].removesuffix(".py"), []).append(file)
    return found


def messages(file: pathlib.Path) -> Iterator[tuple[str, str]]:
    """The kind and the text of each message that is written where it is raised."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            call, kind = node.exc, ast.unparse(node.exc.func).rpartition(".")[2]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in WARNINGS:
            call, kind = node, "warning"
        else:
            continue
        message = shown(call.args[0]) if call.args else ""
        if len(message.split()) > 2:
            yield kind, message


def shown(node: ast.expr) -> str:
    """The text of a string, with … for each value, or nothing for another expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return " ".join(node.value.split())
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        return " ".join("".join(map(str, parts)).split())
    return ""

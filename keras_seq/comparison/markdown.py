"""A report as Markdown."""

import pathlib
import re

from keras_seq.comparison.document import Document, Image, Images, Section, Table, Text, cell


def document(report: Document, folder: pathlib.Path) -> str:
    """The report as Markdown, with images relative to `folder`."""
    parts = [f"# {escaped(report.title)}", f"**{escaped(report.headline)}**"]
    parts.append("\n".join(f"- {escaped(finding)}" for finding in report.findings))
    parts += [_section(section, folder) for section in report.sections]
    return "\n\n".join(filter(None, parts)) + "\n"


def _section(section: Section, folder: pathlib.Path) -> str:
    parts = [f"## {escaped(section.title)}"]
    for block in section.blocks:
        if isinstance(block, Text):
            parts += [escaped(block.text)] if block.text else []
            parts += ["    " + " ".join(block.code.split())] if block.code else []
        elif isinstance(block, Images):
            parts += [_image(image, folder) for image in block.images]
        else:
            parts.append(table(block))
    return "\n\n".join(parts)


def _image(image: Image, folder: pathlib.Path) -> str:
    return f"![{escaped(image.alt)}]({image.path.relative_to(folder).as_posix()})"


def table(contents: Table) -> str:
    """The table with its caption above. A verdict is bold, a note follows in the same cell."""
    lines = ["| " + " | ".join(map(escaped, contents.columns)) + " |", "|" + "---|" * len(contents.columns)]
    for row in contents.rows:
        lines.append("| " + " | ".join(_cell(each) for each in row) + " |")
    return f"{escaped(contents.caption)}\n\n" + "\n".join(lines)


def _cell(value) -> str:
    value = cell(value)
    verdict = f"**{value.verdict}**" if value.verdict else ""
    return "<br>".join(filter(None, (escaped(value.text), verdict, escaped(value.note))))


def escaped(text: str) -> str:
    """The text in one line, with the characters escaped that have a meaning in Markdown, in tables or in HTML."""
    text = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]|<>#])", r"\\\1", text)

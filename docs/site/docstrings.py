"""Docstrings as Markdown for mkdocstrings: `Args:`, `Call arguments:`, `Source:` and the others become lists and lines.

mkdocs.yml names this file as an extension of Griffe, which reads the docstrings.
"""

import inspect
import pathlib
import re
import sys

import griffe

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from docs.site.links import linked_in_docstring  # noqa: E402

SECTION = re.compile(r"(Args|Call arguments|Attributes|Returns|Yields|Raises|Examples?|Sources?):(?: +(?P<text>.*))?$")
LISTED = ("Args", "Call arguments", "Attributes", "Raises")
ENTRY = re.compile(r"(?P<names>[\w.*]+(?:, (?:[\w.*]+))*)(?: \([^()]*\))?: +(?P<text>\S.*)")
NEXT_ENTRY = re.compile(r"(?<=[.;)`\w]) {2,}(?=[\w.]+(?:, [\w.]+)*: )")  # `y_true: int.   y_pred: float.`


class Sections(griffe.Extension):
    """Rewrites each docstring before it is rendered."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring:
            arguments = [parameter.name for parameter in getattr(obj, "parameters", ())]
            obj.docstring.value = linked_in_docstring(as_markdown(obj.docstring.value), obj.path, arguments)


def as_markdown(docstring: str) -> str:
    """The text of a docstring, with its sections as Markdown."""
    blocks: list[str] = []
    lines = inspect.cleandoc(docstring).split("\n")
    while lines:
        match = SECTION.match(lines[0])
        body = taken(lines, in_section=match is not None)
        blocks.append(section(match[1], match["text"], body[1:]) if match else "\n".join(body))
    return "\n\n".join(block.strip("\n") for block in blocks)


def taken(lines: list[str], in_section: bool) -> list[str]:
    """Removes and returns the lines up to the next section, or up to the end of this one."""
    end = 1
    while end < len(lines) and not SECTION.match(lines[end]):
        after_blank = not lines[end - 1].strip()
        if in_section and after_blank and lines[end].strip() and not lines[end].startswith(" "):
            break
        end += 1
    body = lines[:end]
    del lines[:end]
    return body


def section(title: str, text: str | None, body: list[str]) -> str:
    if title.startswith(("Source", "Yields", "Returns")) and not any(line.strip() for line in body):
        return f"**{title}:** {text or ''}"
    if title.startswith("Source") or (text and title not in LISTED):
        return f"**{title}:** {' '.join([text or '', *map(str.strip, body)]).strip()}"
    content = inspect.cleandoc("\n".join(["", *body]))
    if title.startswith("Example"):
        return f"**{title}:**\n\n```pycon\n{content}\n```"
    if title in LISTED:
        content = entries(content)
    return f"**{title}:** {text or ''}".rstrip() + f"\n\n{content}"


def entries(content: str) -> str:
    """A list item for each `name: text`; an entry's further lines are joined to it."""
    items: list[str] = []
    for line in content.split("\n"):
        for part in NEXT_ENTRY.split(line) if not line.startswith(" ") else [line]:
            match = ENTRY.match(part)
            if match:
                names = ", ".join(name if name == "..." else f"`{name}`" for name in match["names"].split(", "))
                items.append(f"- {names}: {part[match.start('text') :]}")
            elif not part.strip():
                continue
            elif part.strip().startswith("- "):
                items.append(f"    {part.strip()}")
            elif items and part.startswith(" "):
                items[-1] += f" {part.strip()}"
            else:
                items.append(f"- {part.strip()}")
    return "\n".join(items)

"""A report as one HTML file, which needs no script, no other file and no network."""

import html
import pathlib
import re

from keras_seq.comparison.document import Document, Image, Images, Section, Table, Text, cell
from keras_seq.comparison.verdicts import AGREES, DEPENDS, DIFFERS, UNMEASURED

STYLE = pathlib.Path(__file__).with_name("style.css")
_MARKS = {AGREES: ("yes", "✓"), DIFFERS: ("no", "✗"), DEPENDS: ("partly", "≈"), UNMEASURED: ("open", "–")}
_NUMBER = re.compile(r"\d[\d,]*(\.\d+)? ?(%|x|s|ms|µs|ns|GB|MB|kB|B|T|G|M|k|min|h)?( ± .*)?|-")


def page(report: Document) -> str:
    """The report as a page. All texts are escaped."""
    findings = "\n".join(f"<li>{escaped(finding)}</li>" for finding in report.findings)
    links = "\n".join(
        f'<li><a href="#{_anchor(section.title)}">{escaped(section.title)}</a></li>' for section in report.sections
    )
    sections = "\n".join(map(_section, report.sections))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(report.title)}</title>
<link rel="icon" href="data:,">
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>{escaped(report.title)}</h1>
<p class="headline">{escaped(report.headline)}</p>
<ul class="findings">
{findings}
</ul>
<nav aria-label="Sections"><ul>
{links}
</ul></nav>
</header>
<main>
{sections}
</main>
</body>
</html>
"""


def escaped(text: str) -> str:
    return html.escape(str(text))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _section(section: Section) -> str:
    anchor = _anchor(section.title)
    blocks = "\n".join(map(_block, section.blocks))
    return (
        f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{escaped(section.title)}</h2>\n{blocks}\n</section>'
    )


def _block(block: Text | Table | Images) -> str:
    if isinstance(block, Text):
        text = f"<p>{escaped(block.text)}</p>" if block.text else ""
        code = f'<pre tabindex="0"><code>{escaped(block.code)}</code></pre>' if block.code else ""
        return text + code
    if isinstance(block, Images):
        return f'<div class="images">{"".join(map(_image, block.images))}</div>'
    return table(block)


def _image(image: Image) -> str:
    return f'<figure role="img" aria-label="{escaped(image.alt)}">{image.svg}</figure>'


def table(contents: Table) -> str:
    """The table in a box that scrolls. Roles are explicit, since the styles of narrow screens would remove them."""
    numbers = [_is_numeric(contents, column) for column in range(len(contents.columns))]
    kinds = [' class="number"' if each else "" for each in numbers]
    head = "".join(
        f'<th scope="col" role="columnheader"{kind}>{escaped(title)}</th>'
        for title, kind in zip(contents.columns, kinds, strict=True)
    )
    rows = "\n".join(_row(row, contents.columns, kinds) for row in contents.rows)
    caption = "" if contents.folded else f"<caption><span>{escaped(contents.caption)}</span></caption>"
    wide = len(contents.columns) > 3
    kind = ' class="stacked"' if contents.stacked else ' class="wide"' if wide else ""
    body = f"""<div class="scroll" role="region" aria-label="{escaped(contents.caption)}" tabindex="0">
<table role="table"{kind}>{caption}
<thead role="rowgroup"><tr role="row">{head}</tr></thead>
<tbody role="rowgroup">
{rows}
</tbody></table></div>"""
    return f"<details><summary>{escaped(contents.caption)}</summary>{body}</details>" if contents.folded else body


def _row(row, columns, kinds) -> str:
    first, *others = map(cell, row)
    cells = [f'<th scope="row" role="rowheader">{_cell(first)}</th>']
    for value, title, kind in zip(others, columns[1:], kinds[1:], strict=True):
        cells.append(f'<td role="cell" data-column="{escaped(title)}"{kind}>{_cell(value)}</td>')
    return f'<tr role="row">{"".join(cells)}</tr>'


def _cell(value) -> str:
    parts = (
        [f'<span class="text">{escaped(value.text)}</span>'] if value.note or value.verdict else [escaped(value.text)]
    )
    if value.verdict:
        kind, mark = _MARKS[value.verdict]
        parts.append(f'<span class="verdict {kind}"><span aria-hidden="true">{mark}</span> {value.verdict}</span>')
    if value.note:
        parts.append(f'<span class="note">{escaped(value.note)}</span>')
    return " ".join(parts)


def _is_numeric(contents: Table, column: int) -> bool:
    """Whether all cells of the column are numbers, which are aligned on the right."""
    cells = [cell(row[column]) for row in contents.rows]
    return column > 0 and bool(cells) and all(_NUMBER.fullmatch(each.text) and not each.verdict for each in cells)

"""The parts of a report, which are written as HTML and as Markdown: sections of paragraphs, tables and figures."""

import dataclasses
import pathlib
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph. `code` is a line of a terminal below it."""

    text: str
    code: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A field of a table: a text, a smaller note, and the verdict on a claim."""

    text: str
    note: str = ""
    verdict: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with a title for each column and each row.

    Args:
        caption: contents of the table.
        columns: titles of the columns. The first one is that of the titles of the rows.
        rows: cells, as many as columns. The first cell is the title of the row.
        stacked: whether the rows become blocks on a narrow screen. Otherwise the table scrolls in its box.
        folded: whether the table is hidden until it is opened.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    stacked: bool = False
    folded: bool = False

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"A row must have {len(self.columns)} cells, as columns. Received: {row}")


@dataclasses.dataclass(frozen=True)
class Image:
    """A figure: the path of the image, the SVG for the page, and a text for readers who do not see it."""

    path: pathlib.Path
    svg: str
    alt: str


@dataclasses.dataclass(frozen=True)
class Images:
    """Figures side by side where the screen is wide enough."""

    images: Sequence[Image]


@dataclasses.dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Text | Table | Images]


@dataclasses.dataclass(frozen=True)
class Document:
    """A report: its title, the main finding, the findings in short, and the sections."""

    title: str
    headline: str
    findings: Sequence[str]
    sections: Sequence[Section]


def cell(value: Cell | str) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)

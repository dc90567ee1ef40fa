"""One finding of the paper: a table, a plot, and whether ours agrees."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keras_seq.cli import table

AGREES, DIFFERS, PARTLY = "agrees", "differs", "agrees in part"


@dataclasses.dataclass(frozen=True)
class Finding:
    """A checked finding.

    Args:
        name: its name, as for `--findings`.
        title: its title.
        paper: what the paper found, with its section.
        header, rows: the table, as text.
        verdict: `AGREES`, `PARTLY` or `DIFFERS`.
        ours: what was found here, in one or two sentences.
        plot: file name of the plot in the folder "plots".
    """

    name: str
    title: str
    paper: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: str
    ours: str
    plot: str

    def lines(self) -> list[str]:
        """The finding as text for a terminal."""
        cells = table([tuple(self.header), *map(tuple, self.rows)])
        return [self.title, "", *(f"  {line}" for line in cells), "", f"Paper: {self.paper}"] + [
            f"Ours, which {self.verdict}: {self.ours}"
        ]

    def markdown(self) -> str:
        """The finding as a section of a page."""
        rows = [self.header, ["---"] * len(self.header), *self.rows]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        paragraphs = [f"## {self.title}", "\n".join(lines), f"![{self.title}](plots/{self.plot})"]
        paragraphs += [f"The paper: {self.paper}", f"Ours **{self.verdict}**. {self.ours}"]
        return "\n\n".join(paragraphs) + "\n"

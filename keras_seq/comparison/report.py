"""The report of a comparison, from its record: one HTML file, the same as Markdown, and the figures."""

import os
import pathlib
from collections.abc import Mapping

from keras_seq.comparison import html, markdown
from keras_seq.comparison.charts import Charts
from keras_seq.comparison.sections import document


def write(record: Mapping, folder: str | os.PathLike) -> list[pathlib.Path]:
    """Writes `report.html`, `report.md` and `plots/*.png`.

    The HTML needs no other file, no script and no network. It adapts to narrow screens, dark mode and paper. Figures
    that the record lacks, as in a comparison that still runs, are left out.

    Args:
        record: the contents of `comparison.json`.
        folder: folder of the comparison. Existing reports are replaced.
    Returns:
        The paths of the files: HTML, Markdown, plots.
    Raises:
        ImportError: if matplotlib is not installed.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    charts = Charts(record, folder)
    report = document(record, charts)
    pages = {"report.html": html.page(report), "report.md": markdown.document(report, folder)}
    for name, content in pages.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [*(folder / name for name in pages), *charts.paths]

"""The progress of a comparison: one bar on a terminal, a line for each finished cell in a log."""

import shutil
import sys
import time
from collections.abc import Mapping

from keras_seq.cli import table
from keras_seq.comparison.cells import Cell, CellRecord

_WIDTH = 24  # of the bar


class Progress:
    """Shows how far the grid is.

    Args:
        total: number of cells.
        done: number of cells that have ended before.
        score: name of the score.
    """

    def __init__(self, total: int, done: int, score: str):
        self._total, self._done, self._before, self._score = total, done, done, score
        self._begun = self._last = time.monotonic()
        self._terminal = sys.stdout is not None and sys.stdout.isatty()

    def ended(self, cell: Cell, record: CellRecord) -> None:
        """Counts a cell, and shows its line."""
        self._done += 1
        self._last = time.monotonic()
        how = f"{self._score} {record.score:.4g}" if record.status == "done" else f"{record.status}: {record.reason}"
        self._line(f"{self._done} of {self._total}  {cell}: {how} ({record.seconds:.0f} s)")

    def say(self, text: str) -> None:
        """Shows a line."""
        self._line(text)

    def refresh(self) -> None:
        """Shows the bar with the time left now, on a terminal."""
        if self._terminal:
            self._show()

    def _line(self, text: str) -> None:
        if self._terminal:
            print(f"\r\x1b[K{text}")
            self._show()
        else:
            print(text, flush=True)

    def _show(self) -> None:
        columns = shutil.get_terminal_size().columns - 1  # a wrapped line cannot be overwritten
        print(f"\r\x1b[K{self.bar()[:columns]}", end="", flush=True)

    def bar(self) -> str:
        """The bar: cells done, and the time left."""
        full = _WIDTH * self._done // self._total
        return f"[{'#' * full}{'.' * (_WIDTH - full)}] {self._done} of {self._total} runs{self._left()}"

    def _left(self) -> str:
        new = self._done - self._before
        if not new or self._done == self._total:
            return ""
        each = (self._last - self._begun) / new
        seconds = each * (self._total - self._done) - (time.monotonic() - self._last)
        return f", {max(1, round(seconds / 60))} min left"

    def close(self) -> None:
        """Removes the bar."""
        if self._terminal:
            print("\r\x1b[K", end="", flush=True)


def result_table(record: Mapping) -> list[str]:
    """The table of a record: a line for each architecture, the best score first."""
    score = record["score"]
    rows = [("architecture", "units", "backbone", "learning rate", score["name"], "spread", "converged", "us/token")]
    sign = -1 if score["mode"] == "max" else 1
    for row in sorted(
        record["architectures"], key=lambda row: (row["best"] is None, sign * row["best"]["mean"] if row["best"] else 0)
    ):
        best, count = row["best"], row["backbone_parameters"]
        chosen = (f"{best['learning_rate']:g}", f"{best['mean']:.4g}", f"{best['spread']:.2g}") if best else ("-",) * 3
        cost = row.get("cost", {}).get("seconds_per_token")
        rows.append(
            (
                row["label"],
                str(row["units"]),
                "-" if count is None else f"{count:,}",
                *chosen,
                f"{row['converged']} of {row['attempts']}",
                "-" if cost is None else f"{1e6 * cost:.1f}",
            )
        )
    return table(rows)

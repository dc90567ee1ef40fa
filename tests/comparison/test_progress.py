"""The progress of a comparison, on a terminal and in a log, and its table."""

import sys
import time

import pytest

from keras_seq.comparison.cells import Cell, CellRecord
from keras_seq.comparison.progress import Progress, result_table

CELL = Cell("lstm", 3e-3, 1, 8)


def test_a_log_has_a_line_for_each_run(capsys):
    progress = Progress(4, 1, "accuracy")
    progress.ended(CELL, CellRecord("done", score=0.7512, seconds=31.2))
    progress.refresh()
    progress.ended(CELL, CellRecord("diverged", reason="loss is nan after round 1", seconds=3))
    progress.close()
    assert capsys.readouterr().out.splitlines() == [
        "2 of 4  lstm, learning rate 0.003, seed 1: accuracy 0.7512 (31 s)",
        "3 of 4  lstm, learning rate 0.003, seed 1: diverged: loss is nan after round 1 (3 s)",
    ]


def test_a_terminal_has_one_bar_and_the_time_left(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    progress = Progress(12, 3, "accuracy")
    assert progress.bar() == f"[{'#' * 6}{'.' * 18}] 3 of 12 runs"
    now[0] = 600.0
    progress.ended(CELL, CellRecord("done", score=0.75, seconds=600))
    assert progress.bar() == f"[{'#' * 8}{'.' * 16}] 4 of 12 runs, 80 min left"  # the 8 others, as long each
    now[0] = 900.0
    assert progress.bar().endswith("75 min left")
    progress.refresh()
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and out.rpartition("\r\x1b[K")[2] == progress.bar()
    progress.close()
    assert capsys.readouterr().out == "\r\x1b[K"


@pytest.mark.parametrize(("mode", "first"), [("max", "GRU"), ("min", "LSTM")])
def test_the_table_has_the_best_first_and_those_without_a_score_last(mode, first):
    def row(label, mean, **others):
        best = None if mean is None else {"learning_rate": 0.01, "mean": mean, "spread": 0.01}
        others = {"units": 8, "backbone_parameters": 1_600, "converged": 1, "attempts": 2, **others}
        return {"label": label, "best": best, **others}

    rows = [row("RNN", None, backbone_parameters=None), row("LSTM", 0.5), row("GRU", 0.75)]
    rows[2]["cost"] = {"seconds_per_token": 2e-6}
    header, *lines = result_table({"score": {"name": "accuracy", "mode": mode}, "architectures": rows})
    assert [line.split()[0] for line in lines] == [first, *({"GRU", "LSTM"} - {first}), "RNN"]
    assert next(line for line in lines if line.startswith("GRU")).split() == [
        "GRU", "8", "1,600", "0.01", "0.75", "0.01", "1", "of", "2", "2.0"
    ]  # fmt: skip
    assert lines[-1].split() == ["RNN", "8", "-", "-", "-", "-", "1", "of", "2", "-"]
    assert header.split()[0] == "architecture"

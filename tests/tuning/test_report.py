import dataclasses

import pytest

from keras_seq.tuning import report
from keras_seq.tuning.records import Round, TrialRecord


@pytest.fixture(autouse=True)
def runs(monkeypatch):
    """The trials handed to TensorBoard, which has tests of its own."""
    handed = []
    monkeypatch.setattr(report, "write_hparams", lambda trials, folder, objective: handed.append(trials) or trials)
    return handed


def trial(number, status="completed", **values):
    score = None if status in ("failed", "running", "invalid") else 0.5 + 0.1 * number % 0.4
    rounds = () if status == "invalid" else (Round(1, 1000, 2.5, 0.4), Round(2, 123_456, 70.25, score or 0.3))
    values = {"cell": ("lstm", "gru")[number % 2], "units": 64, "rate": 0.001 * 3**number, **values}
    return TrialRecord(f"{number:04}", status, values, score, rounds=rounds, parameters=1_234_567)


def test_the_table_has_a_row_for_each_trial_and_marks_the_best():
    trials = [trial(0), trial(1, "stopped", heads=4), trial(2, "failed"), trial(3, norm=None), trial(4, "invalid")]
    header, *rows = report.table(trials, "max", "val_bleu")
    assert header.split() == ["trial", "status", "val_bleu", "tokens", "seconds", "parameters", "values"]
    assert [row.startswith("*") for row in rows] == [False, False, False, True, False]
    assert rows[0].split()[:6] == ["0000", "completed", "0.5000", "123,456", "70", "1,234,567"]
    assert "cell=gru" in rows[1] and "heads=4" in rows[1] and "rate=0.003" in rows[1]
    assert rows[2].split()[1:3] == ["failed", "-"]
    assert "norm=none" in rows[3]
    assert not any("units" in row for row in rows)  # all are equal
    assert len({row.index("cell=") for row in rows} | {header.index("values")}) == 1
    assert [row.startswith("*") for row in report.table(trials, "min", "val_bleu")[1:]].index(True) == 0


def test_the_table_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    many = {f"a_parameter_{number}": number for number in range(40)}
    for row in report.table([trial(0), trial(1, **many)], "max", "val_bleu"):
        assert len(row) <= 120
    assert row.endswith("...")
    one = report.table([trial(0, text="a\nb")], "max", "loss")
    assert len(one) == 2 and "units=64" in one[1] and "text=a b" in one[1]
    assert report.table([], "max", "loss") == []
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert "a_parameter_39=39" in report.table([trial(0), trial(1, **many)], "max", "val_bleu")[2]


def test_rows_of_examples_have_their_unit():
    assert " examples " in report.table([dataclasses.replace(trial(0), unit="examples")], "min", "loss")[0]


def test_draw_a_search(tmp_path, runs):
    trials = [trial(number, "failed" if number == 5 else "completed") for number in range(12)]
    trials = [
        dataclasses.replace(each, score=float(each.values["cell"] == "gru")) if each.has_score else each
        for each in trials
    ]
    written = report.draw(trials, tmp_path, mode="max", objective="val_bleu")
    names = ["plots/importance.png", "plots/parallel_coordinates.png", "plots/score_against_cost.png", "tensorboard"]
    assert written == [tmp_path / name for name in names]
    assert all(path.stat().st_size > 5000 for path in written[:3])
    assert runs == [trials]


@pytest.mark.parametrize(
    "trials, count",
    [
        ([], 0),
        ([trial(0, "running")], 0),
        ([trial(0, "failed"), trial(1, "failed"), trial(2, "invalid")], 0),
        ([trial(0)], 2),
        ([trial(0), trial(0)], 2),
        ([trial(0), trial(1, "failed"), trial(2, "running")], 2),
        ([dataclasses.replace(trial(0), rounds=())], 1),
        ([TrialRecord("0000", "completed", {}, 0.5)], 0),
    ],
)
def test_plots_that_cannot_be_drawn_are_left_out(tmp_path, trials, count):
    written = report.draw(trials, tmp_path, mode="min", objective="loss")
    plots = [path for path in written if path.suffix == ".png"]
    assert len(plots) == count and all(path.exists() for path in plots)
    assert len(written) == count + bool(trials)

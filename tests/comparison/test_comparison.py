"""A whole comparison, in this process, and in processes that are killed."""

import contextlib
import dataclasses
import functools
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("comparisons run on TensorFlow", allow_module_level=True)

from keras_seq.comparison import Comparison, Plan, comparison, costs, processes, read_cell
from keras_seq.comparison.cells import CellRecord
from keras_seq.comparison.record import scores_to_remember
from keras_seq.comparison.training_cells import train_cells
from tests.comparison.toy import PLAN, Toy

ROOT = pathlib.Path(__file__).parents[2]


class InThisProcess:
    """Stands for `Workers`."""

    def __init__(self, count, make, cells, root, threads=1):
        train_cells(make(), cells, root)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def running(self):
        return True

    def died(self):
        return []


@pytest.fixture
def here(monkeypatch):
    """Comparisons in this process, that measure nothing."""
    monkeypatch.setattr(processes, "Workers", InThisProcess)
    monkeypatch.setattr(processes, "_POLL", 0)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # half a second for each run, in a process that has run other tests
    monkeypatch.setattr(comparison, "measure", lambda make, chosen, *_: {name: {"peak_bytes": 1} for name in chosen})
    monkeypatch.setattr(costs, "in_fresh_process", lambda function, *arguments, **_: function(*arguments))


@pytest.mark.long
def test_a_comparison_and_its_continuation(here, tmp_path, capsys):
    plan = dataclasses.replace(PLAN, seeds=(1,))
    record = Comparison(Toy, plan, tmp_path / "c").run()
    assert record == json.loads((tmp_path / "c/comparison.json").read_text())
    assert (record["title"], record["data"], record["budget"]) == (" (sums)", "sums", PLAN.budget)
    assert record["feedforward"] == {"wasted_share": 0.5, "length": len(plan.architectures)}
    first, second = record["architectures"]
    assert (first["name"], second["name"], second["label"]) == ("cnn", "feedforward", "Feed-forward")
    # A layer has u u + u parameters, and feed-forward has two of them.
    target = record["equal"]["parameters"]
    for row, layers in ((first, 1), (second, 2)):
        assert row["backbone_parameters"] == layers * (row["units"] ** 2 + row["units"])
        assert row["backbone_parameters"] == pytest.approx(target, rel=0.2)
        assert [run["status"] for run in row["runs"]] == ["done", "diverged"]
        assert (row["attempts"], row["best"]["learning_rate"]) == (2, 0.1)
        scores = [run["score"] for run in row["runs"] if run["status"] == "done"]
        assert row["best"]["scores"] == scores == [row["best"]["mean"]]
        assert row["converged"] == sum(score >= record["score"]["converged_at"] for score in scores)
        assert row["cost"] == {"peak_bytes": 1}
        assert "quality_by_length" not in row  # its lengths are steps to remember
    assert record["memory"] == {
        "task": "sums", "lengths": [2, 3], "scores": {"cnn": [0.5, 1.0], "feedforward": [0.5, 1.0]}
    }  # fmt: skip
    best = max(row["best"]["mean"] for row in record["architectures"])
    highest = max(max(row["best"]["scores"]) for row in record["architectures"])
    assert record["score"]["converged_at"] == pytest.approx((0.5 + highest) / 2) and best <= highest
    out = capsys.readouterr().out
    assert out.count("diverged: loss is nan") == 2 and "4 of 4" in out
    kept = sorted(path.parent.name for path in (tmp_path / "c/cnn").glob("*/best.keras"))
    assert kept == ["0.1-1"]

    # More learning rates: the runs that there are stay, and so do the widths.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").glob("*/*/cell.json")}
    more = dataclasses.replace(plan, learning_rates=(0.1, 5.0, 0.2), architectures=("feedforward",))
    again = Comparison(Toy, more, tmp_path / "c").run()
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    (row,) = again["architectures"]
    assert row["units"] == second["units"] and row["attempts"] == 3
    assert again["seconds"] > record["seconds"]


def test_scores_by_length_stay_with_the_architecture_of_another_task():
    quality = [{"from": 2, "to": 3, "rows": 4, "score": 0.5}]
    rows = [{"name": "gru", "quality_by_length": quality}, {"name": "cnn"}]
    assert scores_to_remember(None, rows) == {} and rows[0]["quality_by_length"] == quality
    assert scores_to_remember("copy", rows) == {"memory": {"task": "copy", "lengths": [3], "scores": {"gru": [0.5]}}}
    assert rows == [{"name": "gru"}, {"name": "cnn"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 21}, "holds another comparison: `units` was 20, is now 21"),
        ({"parameters": 9}, "`parameters` was null, is now 9"),
    ],
)
def test_another_comparison_is_refused(here, tmp_path, change, message):
    Comparison(Toy, dataclasses.replace(PLAN, units=5), tmp_path / "c")  # which has not begun
    Comparison(Toy, PLAN, tmp_path / "c")
    (tmp_path / "c/widths.json").write_text("{}")
    with pytest.raises(ValueError, match=message):
        Comparison(Toy, dataclasses.replace(PLAN, **change), tmp_path / "c")
    Comparison(Toy, dataclasses.replace(PLAN, **change), tmp_path / "c", overwrite=True)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"is not empty and has no comparison in it \(it has a.txt\)"):
        Comparison(Toy, PLAN, tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        Comparison(Toy, PLAN, tmp_path / "a.txt")


def test_a_grid_without_a_score_names_the_reasons(here, tmp_path):
    plan = Plan(("feedforward",), (5.0,), (1,), units=4)
    with pytest.raises(ValueError, match="No run has a score: loss is nan after round 1"):
        Comparison(Toy, plan, tmp_path / "c").run()
    with pytest.raises(ValueError, match="`workers` must be at least 1. Received: 0"):
        Comparison(Toy, plan, tmp_path / "c").run(workers=0)


@pytest.fixture
def without_training(monkeypatch, tmp_path):
    """`without_training(plan, **options)` is the record of a comparison whose runs score their rate, and fail at 5. Its
    models are never built. Scores that are there stay."""
    folder = tmp_path / "c"

    def train_all(make, cells, root, workers, progress, on_ended):
        for cell in cells:
            if not read_cell(root / cell.folder).ended:
                if cell.learning_rate == 5:
                    record = CellRecord("failed", "out of memory")
                else:
                    size = {"parameters": 90, "backbone_parameters": 40}
                    record = CellRecord("done", score=cell.learning_rate, by_length=((2, 3, 4, 0.5),), **size)
                record.write(root / cell.folder)
                (root / cell.folder / "checkpoints").mkdir()
                (root / cell.folder / "best.keras").touch()
        on_ended()

    def counts(self, names):
        return {name: {4: 40, 8: 80}.get for name in names}, {name: lambda units: units for name in names}

    def measured(make, runs, root, say):
        return {"wasted_share": 0.5, "names": [run.relative_to(root).as_posix() for run in runs.values()]}

    monkeypatch.setattr(comparison, "train_all", train_all)
    monkeypatch.setattr(comparison.report, "write", lambda record, directory: [directory / "report.html"])
    monkeypatch.setattr(Comparison, "_counts", counts)
    monkeypatch.setattr(comparison, "measure", lambda make, chosen, *_: {name: {"peak_bytes": 1} for name in chosen})
    monkeypatch.setattr(comparison, "measure_feedforward", measured)
    return lambda plan, **options: Comparison(Toy, plan, folder).run(**options)


def test_a_comparison_measures_and_keeps_the_best_model_of_each_architecture(without_training, tmp_path, capsys):
    plan = Plan(("rnn", "lstm"), (0.1, 0.2, 5.0), (1, 2), units=4, equal_parameters=False)
    record = without_training(plan)
    folder = tmp_path / "c"
    assert record == json.loads((folder / "comparison.json").read_text()) and "equal" not in record
    assert [(row["units"], row["best"]["learning_rate"]) for row in record["architectures"]] == [(4, 0.2)] * 2
    assert [row["best"]["scores"] for row in record["architectures"]] == [[0.2, 0.2]] * 2
    assert [row["cost"] for row in record["architectures"]] == [{"peak_bytes": 1}] * 2
    assert record["memory"] == {"task": "sums", "lengths": [3], "scores": {"rnn": [0.5], "lstm": [0.5]}}
    assert record["feedforward"]["names"] == ["rnn/0.2-1", "lstm/0.2-1"]
    kept = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*/best.keras"))
    assert kept == ["lstm/0.2-1/best.keras", "lstm/0.2-2/best.keras", "rnn/0.2-1/best.keras", "rnn/0.2-2/best.keras"]
    assert not list(folder.glob("*/*/checkpoints"))
    out = capsys.readouterr().out
    assert "the comparison continues" not in out
    assert out.endswith(f"\nRecord: {folder}/comparison.json\nReport: {folder}/report.html\n")


def test_a_comparison_goes_on_with_the_widths_that_it_had(without_training, tmp_path, monkeypatch, capsys):
    plan = Plan(("rnn",), (0.1,), (1,), units=4, equal_parameters=False)
    without_training(plan)
    capsys.readouterr()
    monkeypatch.delattr(Comparison, "_counts")  # no model is built again
    record = without_training(dataclasses.replace(plan, learning_rates=(0.1, 5.0)), measured=False)
    out = capsys.readouterr().out
    assert f"{tmp_path}/c: 1 finished runs, the comparison continues." in out and "Widths" not in out
    (row,) = record["architectures"]
    assert [run["status"] for run in row["runs"]] == ["done", "failed"] and row["units"] == 4
    assert "formula" in row and "cost" not in row and "feedforward" not in record
    (tmp_path / "c/widths.json").write_text('{"widths": {"rnn": 4}}')  # without the width of the input
    (row,) = without_training(plan)["architectures"]
    assert row["units"] == 4 and "formula" not in row


def test_an_architecture_without_a_score_has_neither_costs_nor_models(without_training, tmp_path):
    plan = Plan(("rnn",), (5.0, 0.1), (1,), units=4, equal_parameters=False)
    without_training(plan)
    for name, status in (("5-1", "failed"), ("0.1-1", "diverged")):
        CellRecord(status, "no").write(tmp_path / "c/lstm" / name)
        (tmp_path / "c/lstm" / name / "best.keras").touch()
    record = without_training(dataclasses.replace(plan, architectures=("rnn", "lstm")))
    first, second = record["architectures"]
    assert first["cost"] and second["best"] is None and "cost" not in second
    assert record["feedforward"]["names"] == ["rnn/0.1-1"] and not list((tmp_path / "c/lstm").glob("*/best.keras"))


def test_a_network_with_a_fixed_input_is_measured_once_beside_the_same_runs(tmp_path, monkeypatch):
    calls, said = [], []

    def fresh(function, make, runs, threads, log):
        calls.append((threads, log))
        return function(make, runs)

    monkeypatch.setattr(costs, "in_fresh_process", fresh)
    monkeypatch.setattr(costs, "cores", lambda: 3)
    runs = {"rnn": tmp_path / "rnn/0.1-1"}
    for _ in range(2):
        found = costs.measure_feedforward(Toy, runs, tmp_path, said.append)
        assert found == {"wasted_share": 0.5, "length": 1}
    assert calls == [(3, tmp_path / "measurements.log")] and said == ["Measurements: a network with a fixed input."]
    runs["lstm"] = tmp_path / "lstm/0.1-1"
    assert costs.measure_feedforward(Toy, runs, tmp_path, said.append)["length"] == 2 and len(calls) == 2
    monkeypatch.setattr(Toy, "feedforward", lambda self, runs: None)
    assert costs.measure_feedforward(Toy, {}, tmp_path, said.append) == {}


def test_measurements_that_were_taken_are_not_repeated(tmp_path, monkeypatch):
    calls = []

    def fresh(function, *arguments, threads, log):
        calls.append((function.__name__, threads))
        if len(calls) == 3:
            raise RuntimeError("killed")
        if function is costs.training_memory:
            return 5
        return {name: {"seconds_per_token": 6.0 / threads} for name in ("rnn", "lstm")}

    monkeypatch.setattr(costs, "in_fresh_process", fresh)
    monkeypatch.setattr(costs, "cores", lambda: 2)
    chosen = {name: {"units": 4, "seed": 1} for name in ("rnn", "lstm")}
    shape = {"num_layers": 1, "num_heads": 1}
    with pytest.raises(RuntimeError):
        costs.measure(Toy, chosen, shape, tmp_path, say=lambda text: None)
    found = costs.measure(Toy, chosen, shape, tmp_path, say=lambda text: None)
    names = ["training_costs"] * 2 + ["training_memory"] * 3 + ["step_costs"]
    assert [name for name, _ in calls] == names and [threads for _, threads in calls[:2]] == [1, 2]
    assert all(cost["threads_speedup"] == 2 and cost["peak_bytes"] == 5 for cost in found.values())
    costs.measure(Toy, {name: {"units": 5, "seed": 1} for name in chosen}, shape, tmp_path, say=lambda text: None)
    assert len(calls) == 6 + 5  # other models
    costs.measure(Toy, {name: {"units": 5, "seed": 1} for name in chosen}, shape, tmp_path, say=lambda text: None)
    assert len(calls) == 6 + 5


def children(pid):
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def started(folder):
    command = [sys.executable, "-m", "tests.comparison.toy", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    assert condition()


@pytest.mark.long  # four starts of TensorFlow
def test_a_comparison_that_is_killed_goes_on(tmp_path):
    folder = tmp_path / "c"
    statuses = functools.partial(lambda: [read_cell(path.parent).status for path in folder.glob("*/*/cell.json")])
    process = started(folder)
    until(lambda: any(status in ("done", "diverged") for status in statuses()))
    until(lambda: any(len(read_cell(path.parent).curve) == 1 for path in folder.glob("*/0.1-*/cell.json")))
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not any(pathlib.Path(f"/proc/{worker}/fd").exists() and _runs(worker) for worker in workers), 30)
    cells = {path: path.read_text() for path in folder.glob("*/*/cell.json") if read_cell(path.parent).ended}

    process = started(folder)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    assert f"{len(cells)} finished runs, the comparison continues." in out and "8 of 8" in out
    assert all(path.read_text() == text for path, text in cells.items())
    assert sorted(statuses()) == ["diverged"] * 4 + ["done"] * 4
    logs = "".join(path.read_text() for path in folder.glob("worker-*.log"))
    assert "Traceback" not in logs


def _runs(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    return False


@pytest.mark.long
def test_the_run_of_a_process_that_is_killed_has_failed(tmp_path):
    folder = tmp_path / "c"
    process = started(folder)
    running = [None]

    def found():
        for path in folder.glob("*/0.1-*/cell.json"):
            if read_cell(path.parent).status == "running":
                running[0] = path.parent
        return running[0] is not None

    until(found)
    name = read_cell(running[0]).worker
    victim = next(child for child in children(process.pid) if _log_of(child) == f"{name}.log")
    os.kill(victim, signal.SIGKILL)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    record = read_cell(running[0])
    assert (record.status, record.reason) == ("failed", "its process died: killed by SIGKILL")
    assert "8 of 8" in out and "failed: its process died" in out


def _log_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(os.readlink(f"/proc/{pid}/fd/1")).name
    return ""

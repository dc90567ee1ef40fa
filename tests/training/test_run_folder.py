import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from keras_seq.training import Run, read_history, write_history
from keras_seq.training.run_folder import atomic_write, command_line

CONFIG = {"units": 8, "source": "a.en", "rates": (0.1, 0.2), "epochs": 3}


def test_a_new_run_removes_failed_steps(tmp_path):
    (tmp_path / "nan-step-12").mkdir()
    for name in ("config.json", "gradients.csv", "nan-step-12/step.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    Run(tmp_path, {"units": 1}, overwrite=True)
    assert not list(tmp_path.glob("nan-step-*")) and not (tmp_path / "gradients.csv").exists()
    assert (tmp_path / "notes.txt").exists()


def test_a_new_run_has_its_folders_and_config(tmp_path):
    run = Run(tmp_path / "a" / "run", CONFIG)
    assert run.config == {"units": 8, "source": "a.en", "rates": [0.1, 0.2], "epochs": 3}
    assert run.checkpoints.is_dir() and run.vocabulary.is_dir() and run.plots.is_dir()


def test_the_same_config_continues(tmp_path):
    Run(tmp_path, CONFIG)
    write_history(tmp_path / "history.csv", [{"epoch": 1, "seconds": 70.0}])
    again = Run(tmp_path, {**CONFIG, "rates": [0.1, 0.2], "units": np.int64(8)})
    assert 70 <= again.seconds < 80


def test_another_config_is_refused_with_keys_and_values(tmp_path):
    Run(tmp_path, CONFIG)
    with pytest.raises(ValueError) as error:
        Run(tmp_path, {"units": 16, "source": "a.en", "rates": [0.1, 0.2], "seed": 1, "epochs": 3})
    message = str(error.value)
    assert str(tmp_path) in message and "`units` was 8, is now 16" in message
    assert "`seed` was absent, is now 1" in message and "source" not in message
    assert Run(tmp_path).config["units"] == 8


def test_what_may_change_may_change(tmp_path):
    Run(tmp_path, CONFIG)
    assert Run(tmp_path, {**CONFIG, "epochs": 9}, may_change=["epochs"]).config["epochs"] == 9
    with pytest.raises(ValueError, match="units"):
        Run(tmp_path, {**CONFIG, "units": 9}, may_change=["epochs"])


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_left_alone(tmp_path, overwrite):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="thesis.txt"):
        Run(tmp_path, CONFIG, overwrite=overwrite)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ValueError, match="is a file"):
        Run(tmp_path / "thesis.txt", CONFIG)


def test_overwriting_removes_the_parts_of_the_run_only(tmp_path):
    run = Run(tmp_path, CONFIG)
    (run.checkpoints / "epoch-0001.weights.h5").write_text("")
    run.best.write_text("")
    write_history(run.history, [{"epoch": 1, "loss": 1.0}])
    (tmp_path / "notes.txt").write_text("mine")
    new = Run(tmp_path, {"units": 16}, overwrite=True)
    assert new.config == {"units": 16} and not any(new.checkpoints.iterdir())
    assert not new.best.exists() and not new.history.exists() and (tmp_path / "notes.txt").exists()


def test_more_epochs_need_another_run(tmp_path):
    Run(tmp_path / "a", {"epochs": 2, "units": 8})
    with pytest.raises(ValueError, match="--init-from .*a$"):
        Run(tmp_path / "a", {"epochs": 3, "units": 8})
    with pytest.raises(ValueError, match="overwrite=True`\\).$"):
        Run(tmp_path / "a", {"epochs": 2, "units": 9})


def test_history_widens_and_comes_back(tmp_path):
    path = tmp_path / "history.csv"
    rows = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-9, "val_bleu": 31.5}]
    write_history(path, rows)
    assert path.read_text().splitlines()[0] == "epoch,loss,val_bleu"
    assert read_history(path) == rows
    assert read_history(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(
            ("history.csv", text)
            for text in ("epoch,loss\n1,x\n", "loss\n1\n", "epoch\ninf\n", "epoch\n1,2\n", "epoch\n\0\n")
        ),
        *(("config.json", text) for text in ("{", "[1]", "\xff", "[" * 100_000)),
        *(("metrics.json", text) for text in ("", "{}", "[1]")),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    Run(tmp_path, CONFIG)
    (tmp_path / name).write_text(content, "latin-1")
    with pytest.raises(ValueError, match=rf"{name} is damaged: .*Repair it, or move it away") as error:
        Run(tmp_path, CONFIG).add_metrics([{"metric": "bleu", "value": 1.0}])
    assert "\n" not in str(error.value)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is damaged: it is not a file"):  # and nobody waits for one who writes
        Run(tmp_path, CONFIG).add_metrics([{"metric": "bleu", "value": 1.0}])


def test_replacing_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("old")
    with pytest.raises(OSError), atomic_write(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError("no space left on device")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_metrics_are_filled_in_and_replaced(tmp_path):
    run = Run(tmp_path, CONFIG)
    score = {"recipe": "r", "split": "test", "metric": "bleu", "value": np.float32(30.0), "seed": 1}
    run.add_metrics([score, {**score, "metric": "chrf", "value": 50}])
    run.add_metrics([{**score, "value": 31.0}])
    found = json.loads(run.metrics.read_text())
    assert {entry["metric"]: entry["value"] for entry in found} == {"chrf": 50, "bleu": 31.0}
    assert found[0]["versions"]["keras"].startswith("3.") and "cores" in found[0]["hardware"]
    assert found[0]["seconds"] >= 0 and found[0]["command"].startswith("python")
    with pytest.raises(ValueError, match="color"):
        run.add_metrics([{**score, "color": "red"}])


def test_a_run_knows_its_data_again(tmp_path):
    data = {"train": "a", "valid": "b"}
    Run(tmp_path / "run", {"units": 4}, data=data)
    Run(tmp_path / "run", {"units": 4}, data=data)
    Run(tmp_path / "run", {"units": 4})  # to be looked at
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="a run of other data: valid changed since it began.*`overwrite=True`"):
        Run(tmp_path / "run", {"units": 4}, data={**data, "valid": "c"})
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    Run(tmp_path / "run", {"units": 8}, data={"train": "c"}, overwrite=True)
    assert json.loads((tmp_path / "run" / "data.json").read_text()) == {"train": "c"}


def test_a_worker_changes_nothing_in_the_folder(tmp_path):
    Run(tmp_path, CONFIG, data={"train": "a"})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = {**CONFIG, "units": 9}
    run = Run(tmp_path, other, overwrite=True, chief=False)  # the chief has yet to remove the old run
    run.write("notes.txt", "mine")
    (entry,) = run.add_metrics([{"metric": "bleu", "value": 1.0}])
    assert (entry["metric"], entry["value"]) == ("bleu", 1.0)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(ValueError, match="`units` was 8, is now 9"):
        Run(tmp_path, other, chief=False)


@pytest.mark.parametrize(
    ("spec", "command"),
    [
        (SimpleNamespace(name="recipes.speech.__main__"), "python -m recipes.speech --out 'my runs'"),
        (SimpleNamespace(name="recipes.speech"), "python -m recipes.speech --out 'my runs'"),
        (SimpleNamespace(name=None), "python train.py --out 'my runs'"),
        (None, "python train.py --out 'my runs'"),
    ],
)
def test_the_command_of_a_run(monkeypatch, spec, command):
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
    monkeypatch.setattr(sys, "argv", ["train.py", "--out", "my runs"])
    assert command_line() == command

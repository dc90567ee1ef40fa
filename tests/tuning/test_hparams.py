import dataclasses
import sys

import pytest

from keras_seq.tuning.hparams import write_hparams
from keras_seq.tuning.records import Round, TrialRecord

pytest.importorskip("tensorboard")

ROUNDS = (Round(1, 1000, 1.0, 0.5), Round(2, 2000, 2.0, 0.75), Round(3, 3000, 3.0, 0.625))
TRIALS = [
    TrialRecord(
        "0000", "completed", {"cell": "lstm", "rate": 0.25, "units": 8, "norm": True, "clip": None}, 0.75, "", ROUNDS
    ),
    TrialRecord("0001", "failed", {"cell": "gru", "rate": 1.0}, None, "loss is nan"),
]


def read(run):
    """The scalars of a run as (tag, step, value), and the contents of HParams by their tags."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import plugin_data_pb2
    from tensorboard.util import tensor_util

    scalars, contents = [], []
    for path in run.iterdir():
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    content = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
                    contents.append(content)
                else:
                    scalars.append((value.tag, event.step, tensor_util.make_ndarray(value.tensor).item()))
    return scalars, contents


def values(contents):
    (start,) = [content.session_start_info for content in contents if content.HasField("session_start_info")]
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}


def statuses(contents):
    return [content.session_end_info.status for content in contents if content.HasField("session_end_info")]


def test_tensorboard_reads_the_values_and_the_scores(tmp_path):
    from tensorboard.plugins.hparams import api_pb2

    first, second = write_hparams(TRIALS, tmp_path, "val_bleu")
    assert first == tmp_path / "tensorboard" / "trial_0000" and second.name == "trial_0001"
    scalars, contents = read(first)
    assert scalars == [
        ("val_bleu", 1000, 0.5),
        ("val_bleu", 2000, 0.75),
        ("val_bleu", 3000, 0.625),
        ("best_val_bleu", 3000, 0.75),
    ]
    assert values(contents) == {"cell": "lstm", "rate": 0.25, "units": 8, "norm": True, "clip": "none"}
    assert statuses(contents) == [api_pb2.STATUS_SUCCESS]
    scalars, contents = read(second)
    assert scalars == [] and values(contents) == {"cell": "gru", "rate": 1.0}
    assert statuses(contents) == [api_pb2.STATUS_FAILURE]


def test_a_second_time_replaces_and_does_not_duplicate(tmp_path):
    running = dataclasses.replace(TRIALS[0], status="running", score=None, rounds=ROUNDS[:1])
    (run,) = write_hparams([running], tmp_path, "val_bleu")
    scalars, contents = read(run)
    assert len(scalars) == 1 and statuses(contents) == []
    write_hparams(TRIALS, tmp_path, "val_bleu")
    assert len(read(run)[0]) == 4 and len(list(run.iterdir())) == 1
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*events*")}
    write_hparams(TRIALS, tmp_path, "val_bleu")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*events*")} == before  # nothing has changed
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]


def test_no_trial_writes_nothing(tmp_path):
    assert write_hparams([], tmp_path, "loss") == [] and not list(tmp_path.iterdir())


def test_without_tensorboard_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.plugins.hparams.api", None)
    with pytest.raises(ImportError, match=r"keras-seq\[tuning\]"):
        write_hparams(TRIALS, tmp_path, "loss")

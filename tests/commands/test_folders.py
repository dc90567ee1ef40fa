import json
import shutil

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from keras_seq import training


def test_average_is_the_mean_of_the_last_and_can_be_named_as_a_model(keras_seq, folders, tmp_path):
    run = shutil.copytree(folders["lstm"], tmp_path / "run")
    assert "no complete checkpoint" in keras_seq("average", "--model", run).err
    model = keras.models.load_model(run / "best.keras")
    first = model.get_weights()
    for epoch, factor in ((1, 9.0), (2, 1.0), (3, 2.0)):
        model.set_weights([factor * weight for weight in first])
        training.Checkpoints(run).save(model, epoch)
    result = keras_seq("average", "--model", run, "--last", 2)
    assert result.code == 0 and "epoch-0002.weights.h5, epoch-0003.weights.h5" in result.err
    averaged = keras.models.load_model(run / "averaged.keras").get_weights()
    for found, weight in zip(averaged, first, strict=True):
        np.testing.assert_allclose(found, 1.5 * weight, rtol=1e-6)
    assert "exists already" in keras_seq("average", "--model", run).err
    (record,) = keras_seq("inspect", "--model", run / "averaged.keras", "--json").records
    assert record["path"].endswith("averaged.keras") and len(record["checkpoints"]) == 3


def test_inspect_a_run(keras_seq, folders, tmp_path):
    run = shutil.copytree(folders["lstm"], tmp_path / "run")
    rows = [{"epoch": e, "val_loss": x, "val_bleu": y} for e, x, y in ((1, 2.0, 9.0), (2, 1.0, 5.0), (3, 3.0, 7.0))]
    training.write_history(run / "history.csv", rows)
    (found,) = keras_seq("inspect", "--model", run, "--json").records
    model = keras.models.load_model(run / "best.keras")
    assert found["parameters"] == model.count_params() == sum(layer["parameters"] for layer in found["layers"])
    assert found["config"] == {"units": 8} and found["vocabularies"]["joint"]["kind"] == "Words"
    best = {"val_loss": {"value": 1.0, "epoch": 2}, "val_bleu": {"value": 9.0, "epoch": 1}}
    assert found["history"] == {"epochs": 3, "best": best}
    page = keras_seq("inspect", "--model", run).out
    assert "best val_loss" in page and "1 after epoch 2" in page and f"{model.count_params():,} parameters" in page
    (run / "config.json").write_text("{")
    refused = keras_seq("inspect", "--model", run)
    assert refused.code == 2 and "config.json is damaged" in refused.err and refused.err.count("\n") == 1


def test_inspect_shows_cost_and_kernels(keras_seq, folders, tmp_path):
    flags = ["inspect", "--model", folders["lstm"], "--cost", "--fast-path", "--batch-size", 2, "--length", 6]
    (found,) = keras_seq(*flags, "--json").records
    assert found["cost"]["shapes"] == {"source": [2, 6], "target": [2, 6]}
    assert (found["cost"]["tokens"], found["cost"]["unit"], found["cost"]["unknown"]) == (12, "token", [])
    rows = found["cost"]["layers"]
    assert sum(row["parameters"] for row in rows) == found["parameters"]
    assert sum(row["products"] + row["elementwise"] for row in rows) == found["cost"]["flop"]
    assert found["cost"]["expected_training_tokens_per_second"]["h100"] > 0
    kernels = {row["path"]: row for row in found["fast_path"]}
    assert {row["here"] for row in kernels.values() if row["layer"] == "GRU"} == {"keras_seq's loop"}
    page = keras_seq(*flags, "--plot", tmp_path / "cost.png").out
    assert "keras_seq's loop" in page and "formula of the products" in page and "NVIDIA H100" in page
    assert (tmp_path / "cost.png").stat().st_size > 1000
    plain = keras_seq("inspect", "--model", folders["lstm"]).out
    assert "\ntotal" in plain  # the table of the parameters has a line for each layer
    assert "cuDNN" not in plain and "MFLOP" not in plain
    refused = keras_seq("inspect", "--model", folders["served"], "--fast-path")
    assert refused.code == 2 and "--fast-path needs the layers of a run folder" in refused.err
    refused = keras_seq("inspect", "--model", folders["lstm"], "--cost", "--length", 0)
    assert refused.code == 2 and "must be positive" in refused.err


def test_inspect_a_run_that_diverged_or_was_written_by_hand(keras_seq, folders, tmp_path):
    run = shutil.copytree(folders["lstm"], tmp_path / "run \udcff")
    (run / "history.csv").write_text("epoch,val_loss,val_bleu\n1,nan,nan\n2,3.0,nan\n3,nan,\n")
    (run / "metrics.json").write_text('[{"metric": "bleu", "value": null}, {"metric": "words", "value": 7}, {}]')
    (record,) = keras_seq("inspect", "--model", run, "--json").records
    best = {"val_loss": {"value": 3.0, "epoch": 2}, "val_bleu": {"value": None, "epoch": 1}}
    assert record["history"] == {"epochs": 3, "best": best}
    page = keras_seq("inspect", "--model", run).out
    assert "\nbleu " in page and "\nwords " in page and "nan after epoch 1" in page


def test_export_and_inspect_a_saved_model(keras_seq, folders, tmp_path):
    flags = ["export", "--model", folders["lstm"], "--output", tmp_path / "out", "--no-verify"]
    assert keras_seq(*flags, "--search", "greedy", "--max-length", 6).code == 0
    stdin = "two men ride\na horse"
    ours = ["translate", "--model", folders["lstm"], "--search", "greedy", "--max-length", 6]
    assert keras_seq("translate", "--model", tmp_path / "out", stdin=stdin).lines == keras_seq(*ours, stdin=stdin).lines
    (found,) = keras_seq("inspect", "--model", tmp_path / "out", "--json").records
    assert found["signatures"]["translate"]["inputs"] == {"text": "string (?,)"}
    assert found["parameters"] == keras.models.load_model(folders["lstm"] / "best.keras").count_params()
    assert "signature translate" in keras_seq("inspect", "--model", tmp_path / "out").out
    refused = keras_seq(*flags)
    assert refused.code == 2 and "holds a SavedModel already" in refused.err
    refused = keras_seq(*flags, "--format", "ctranslate2", "--num-beams", 3)
    assert refused.code == 2 and "--num-beams" in refused.err
    assert json.loads((folders["lstm"] / "config.json").read_text()) == {"units": 8}  # nothing was written there

import contextlib
import importlib.util
import json
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_seq import distribution, models, text
from keras_seq.commands import certified, certified_exports, certified_served, certify, progress
from keras_seq.commands.certify import Certify
from keras_seq.inspection import certify as inspection
from keras_seq.inspection import sequences
from keras_seq.tasks import loading
from tests.commands.conftest import SOURCE, TARGET, run_folder
from tests.reference import quick

BARE = ("--replicas", 1, "--formats")  # neither replicas nor exports
NEEDS_TF2ONNX, NEEDS_CT2 = (
    pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs {name}")
    for name in ("tf2onnx", "ctranslate2")
)


def kinds(lines):
    """The table: kind -> cases, failures."""
    last = next(number for number, line in enumerate(lines) if line.startswith("all "))
    rows = [line.rsplit(maxsplit=3) for line in lines[1 : last + 1]]
    return {kind: (int(cases), int(failures)) for kind, cases, failures, _ in rows}


def test_a_run_folder_passes(taggers, keras_seq, tmp_path):
    file = tmp_path / "certificate.json"
    result = keras_seq("certify", "--model", taggers["spelled"], "--cases", 30, "--json", file, *BARE)
    assert result.code == 0, result.out + result.err
    told = kinds(result.lines)
    names = ["neighbors", "order", "padding", "under the padding", "batch shape", "alone"]
    assert told == {**{name: (5, 0) for name in names}, "all": (30, 0)}
    record = json.loads(file.read_text())
    assert record["ok"] and record["varied"] and record["cases"] == 30 and record["smallest"] is None
    assert [row["kind"] for row in record["kinds"]] == names and max(row["largest"] for row in record["kinds"]) < 1e-5


def test_a_case_that_failed_is_shown_and_replayed(taggers, keras_seq):
    result = keras_seq("certify", "--model", taggers["words"], "--cases", 40, "--tolerance", 0, *BARE)
    assert result.code == 1 and kinds(result.lines)["all"][1] > 0
    number = next(line for line in result.lines if line.startswith("case ")).split(",")[0].removeprefix("case ")
    assert result.lines[-1].endswith(f"--seed 0 --case {number}")
    again = keras_seq("certify", "--model", taggers["words"], "--tolerance", 0, "--case", number, *BARE)
    assert again.code == 1 and again.lines[0].startswith(f"case {number}, seed 0: ")
    assert keras_seq("certify", "--model", taggers["words"], "--case", number, *BARE).code == 0


def test_a_saved_model_passes(forecasters, keras_seq):
    result = keras_seq("certify", "--model", forecasters["served"], "--cases", 12)
    assert result.code == 0 and "under the padding" in kinds(result.lines), result.out + result.err


@pytest.fixture
def eagerly():
    """A case of a model that decodes is a search of a few steps: to trace it takes seconds."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(
    "name", quick(["recurrent", "language model", "ctc", "attention"], few=["language model", "ctc"])
)
def test_a_case_of_each_kind_of_model(name, run_folders, keras_seq, eagerly):
    result = keras_seq("certify", "--model", run_folders[name], "--case", 1, "--max-length", 3, "--longest", 5, *BARE)
    assert result.code == 0 and "case 1, seed 0: order" in result.out, result.out + result.err
    assert ("token_log_probs" in result.out) == (name in ("recurrent", "language model"))


@pytest.mark.parametrize(
    ("name", "case", "flags", "kind"),
    [  # the first case after those of each kind of batch
        pytest.param("classifier", 5, ("--replicas", 2, "--formats"), "2 replicas", marks=pytest.mark.long),
        ("classifier", 5, ("--replicas", 1, "--formats", "ctranslate2", "saved_model"), "saved_model"),
        pytest.param(
            "classifier", 5, ("--replicas", 1, "--formats", "onnx"), "onnx", marks=[NEEDS_TF2ONNX, pytest.mark.long]
        ),
        pytest.param("translator", 6, ("--replicas", 1, "--formats", "ctranslate2"), "ctranslate2", marks=NEEDS_CT2),
    ],
)
def test_a_case_of_replicas_and_of_each_export(name, case, flags, kind, run_folders, keras_seq, eagerly):
    flags = ("--case", case, "--max-length", 3, "--longest", 5, *flags)
    result = keras_seq("certify", "--model", run_folders[name], *flags)
    assert result.code == 0 and f"case {case}, seed 0: {kind}, " in result.out, result.out + result.err


def test_an_export_that_fails_is_left_out(taggers, keras_seq, monkeypatch):
    def fails(*given):
        raise RuntimeError("no such operation\nand more of it")

    monkeypatch.setitem(certified_exports.EXPORTED, "onnx", fails)
    flags = ("--cases", 6, "--replicas", 1, "--formats", "onnx")
    result = keras_seq("certify", "--model", taggers["words"], *flags)
    assert result.code == 0 and "Left out: onnx. no such operation\n" in result.out, result.out + result.err


@pytest.mark.long
def test_a_saved_model_of_text_passes(folders, keras_seq, tmp_path):
    (tmp_path / "words").write_text("\n".join(SOURCE))
    flags = ("--cases", 2, "--max-length", 3)
    result = keras_seq("certify", "--model", folders["served"], *flags, "--text", tmp_path / "words")
    assert result.code == 0 and "Left out: padding" in result.out, result.out + result.err
    (tmp_path / "words").write_text(" ")
    result = keras_seq("certify", "--model", folders["served"], *flags, "--text", tmp_path / "words")
    assert result.code == 2 and "has no words. Give a file of text" in result.err
    result = keras_seq("certify", "--model", folders["prose"], *flags)
    assert result.code == 2 and "draws its output at random" in result.err and "seed, temperature" in result.err


@pytest.mark.long
def test_a_saved_model_of_sound_passes(recognizers, keras_seq):
    result = keras_seq("certify", "--model", recognizers["served"], "--cases", 3, "--longest", 600)
    assert result.code == 0 and "padding" in kinds(result.lines), result.out + result.err


def opened(folder, name, call, spec):
    """A SavedModel with one signature."""
    module = tf.Module()
    module.call = tf.function(lambda x: {"found": call(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), {name: module.call})
    loaded = tf.saved_model.load(str(folder))
    return types.SimpleNamespace(folder=folder, module=loaded, signatures_by_name=dict(loaded.signatures))


@pytest.mark.long
def test_saved_models_of_tags_and_of_ids(tmp_path):
    options = Certify(model=tmp_path)
    texts, ids = tf.TensorSpec([None], tf.string, "text"), tf.TensorSpec([None, None], tf.int32, "ids")
    tags = opened(tmp_path / "tag", "tag", lambda x: tf.strings.length(tf.strings.split(x).to_tensor("")), texts)
    with certified_served.adapter_of_saved_model(tags, options) as (adapter, left_out):
        found = inspection.certify(adapter, cases=len(adapter.kinds))
    assert found.ok and list(left_out) == ["padding"] and "padding" not in adapter.kinds
    steps = opened(tmp_path / "ids", "serve", lambda x: 2 * x, ids)
    with certified_served.adapter_of_saved_model(steps, options) as (adapter, left_out):
        found = inspection.certify(adapter, cases=len(adapter.kinds))
    assert found.ok and not left_out and "padding" in adapter.kinds
    other = opened(tmp_path / "other", "own", lambda x: x, ids)
    with pytest.raises(ValueError, match="has none of the signatures translate, .*It has: own. Give the run folder"):
        certified_served.adapter_of_saved_model(other, options).__enter__()


def test_the_only_input_of_a_signature_may_have_another_name():
    batch, takes = {"source": np.ones((1, 2), "float32")}, {"waveform": tf.TensorSpec([None, None])}
    assert list(certified_exports._named(batch, takes)) == ["waveform"]
    assert list(certified_exports._named(batch, {"source": tf.TensorSpec([None, None])})) == ["source"]


@pytest.mark.long
def test_saved_models_of_sounds_and_texts_pass(folders, recognizers, keras_seq, tmp_path):
    result = keras_seq("certify", "--model", recognizers["served"], "--cases", 60)
    assert result.code == 0 and "padding" in kinds(result.lines), result.out + result.err
    (tmp_path / "words").write_text("\n".join(SOURCE))
    result = keras_seq("certify", "--model", folders["served"], "--cases", 60, "--text", tmp_path / "words")
    assert result.code == 0 and "Left out: padding" in result.out, result.out + result.err
    result = keras_seq("certify", "--model", folders["prose"])
    assert result.code == 2 and "draws its output at random" in result.err and "seed, temperature" in result.err


def test_what_is_wrong_is_named(taggers, keras_seq, tmp_path):
    for flags, told in (
        (("--cases", 0), "--cases must be from 1 to 10000000. Received: 0"),
        (("--tolerance", "nan"), "--tolerance must be from 0 to inf. Received: nan"),
        (("--replicas", 65), "--replicas must be from 1 to 64. Received: 65"),
        (("--text", tmp_path), "--text requires a SavedModel: a run folder has its vocabulary. Leave it out."),
        (("--json", tmp_path), "is a folder. Name a file."),
        (("--json", tmp_path / "none" / "x.json"), "does not exist. Make it first."),
    ):
        result = keras_seq("certify", "--model", taggers["words"], *flags)
        assert result.code == 2 and told in result.err


@pytest.mark.parametrize(
    ("answers", "code", "warned"),
    [
        (lambda batch: {"x": 2 * batch["x"]}, 0, False),
        (lambda batch: {"x": 0 * batch["x"]}, 1, True),
    ],
)
def test_progress_in_a_terminal_and_answers_that_are_all_the_same(answers, code, warned, monkeypatch, capsys, tmp_path):
    seconds = iter(range(0, 9000, 3))
    adapter = inspection.ModelAdapter({"x": sequences.Input(sequences.numbers, (3,))}, answers)
    monkeypatch.setattr(
        certify, "_adapter", lambda options: contextlib.nullcontext((adapter, {"padding": "It has none."}))
    )
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with pytest.raises(SystemExit) as ended:
        certify.certify(Certify(model=tmp_path, cases=9))
    page = capsys.readouterr()
    assert ended.value.code == code and "Left out: padding. It has none.\n" in page.out
    assert ("The outputs are the same for all sequences, so nothing was compared." in page.out) == warned
    assert page.err.startswith("\r1 cases, 0 a second") and page.err.endswith("\r9 cases, 0 a second\033[K\n")


@pytest.mark.parametrize("replicas", [1, 3])
def test_devices_are_divided_before_a_model_is_loaded(replicas, monkeypatch, tmp_path):
    steps = []
    monkeypatch.setattr(distribution, "divide_cpu", lambda count: steps.append(count), raising=False)
    monkeypatch.setattr(loading, "load_run", lambda path, verb: steps.append((path, verb)) or "a task")
    monkeypatch.setattr(certified, "adapter_of_run", lambda task, options: (task, options))
    options = Certify(model=tmp_path, replicas=replicas)
    assert certify._adapter(options) == ("a task", options)
    assert steps == [replicas] * (replicas > 1) + [(tmp_path, "keras-seq certify")]


def make_translator(root):
    keras.utils.set_random_seed(5)
    vocabulary = text.Words.train(SOURCE + TARGET)
    model = models.Transformer(vocabulary.size, units=8, num_heads=2, num_layers=1, dropout=0.0)
    run_folder(root / "translator", model, vocabulary)


@pytest.fixture
def run_folders(folders, taggers, recognizers, forecasters, made_once):
    return {
        "translator": made_once("certified", make_translator) / "translator",
        "recurrent": folders["lstm"],
        "language model": folders["transformer"],
        "classifier": folders["classifier"],
        "tagger": taggers["spelled"],
        "ctc": recognizers["ctc"],
        "attention": recognizers["attention"],
        "forecaster": forecasters["quantiles"],
    }


NAMES = ["translator", "recurrent", "language model", "classifier", "tagger", "ctc", "attention", "forecaster"]
NO_ONNX = {"translator", "language model", "ctc", "attention"}  # what tf2onnx cannot write: see docs/export.md


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_replicas_and_exports_are_compared(name, run_folders, keras_seq):
    result = keras_seq("certify", "--model", run_folders[name], "--cases", 45)
    assert result.code == 0, result.out + result.err
    expected = {"2 replicas", "saved_model"}
    if name not in NO_ONNX and importlib.util.find_spec("tf2onnx"):
        expected.add("onnx")
    if name == "translator" and importlib.util.find_spec("ctranslate2"):
        expected.add("ctranslate2")
    told = kinds(result.lines)
    assert expected <= set(told) and ("onnx" in told) == ("onnx" in expected)


@pytest.mark.long
def test_a_model_that_forgets_its_padding_fails(keras_seq, tmp_path):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(9, 4)(tokens)  # without a mask
    model = keras.Model(tokens, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))
    model.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in model.get_weights()])
    model.save(tmp_path / "best.keras")
    result = keras_seq("certify", "--model", tmp_path, "--cases", 60, *BARE)
    told = kinds(result.lines)
    assert result.code == 1 and told["padding"][1] > 0 and told["order"][1] == told["neighbors"][1] == 0

"""A CTranslate2 folder answers as the task that it was exported from."""

import sys
import types

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the export needs TensorFlow", allow_module_level=True)

pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")

from keras_seq import export, models, tasks, text
from keras_seq.serving.answering import Answers
from keras_seq.serving.describing import description
from keras_seq.serving.loading import load
from keras_seq.serving.plain import as_json
from keras_seq.tasks.results import Generated
from tests.tasks.test_tasks import LINES, loud


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    keras.utils.set_random_seed(3)
    words = text.Words.train(LINES)
    model = loud(models.Transformer(words.size, units=16, num_heads=2, num_layers=1))
    folder = tmp_path_factory.mktemp("ct2") / "en-de"
    export.ctranslate2(model, folder, words, verify=False)
    return tasks.Translation(model, words, search="greedy", max_length=9), load(folder)


def test_it_translates_as_the_task(pair):
    ours, theirs = pair
    expected = ours.details([*LINES, ""], search="greedy")
    found = theirs.predictor(num_beams=1, max_length=9)([*LINES, ""])
    for one, other in zip(found, expected, strict=True):
        assert one.texts == other.texts and one.finished == other.finished
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-3)
    assert len({result.texts[0] for result in found}) > 2
    (alone,) = theirs.predictor(num_beams=1, max_length=9, alpha=0.0)(LINES[:1])
    assert alone.scores == alone.log_probs == pytest.approx(found[0].log_probs, abs=1e-4)


def test_it_gives_several_translations_and_refuses_what_is_wrong(pair):
    _, theirs = pair
    (best,) = theirs.predictor(num_beams=3, num_return=3, max_length=5)(LINES[:1])
    assert len(best.texts) == 3 and best.scores == sorted(best.scores, reverse=True)
    (failed,) = theirs.predictor(max_source_length=3)(["a man rides"])
    assert as_json(failed) == {"error": "4 tokens are more than `max_source_length` 3"}
    with pytest.raises(ValueError, match="`num_return` must be from 1 to `num_beams` 2. Received: 3"):
        theirs.predictor(num_beams=2, num_return=3)
    with pytest.raises(ValueError, match="`max_length` must be at least 1. Received: 0"):
        theirs.predictor(max_length=0)
    assert theirs.predictor()([]) == []


def test_a_translation_may_be_empty(pair, monkeypatch):
    _, theirs = pair
    end = theirs.vocabulary.pieces([theirs.vocabulary.end_id])
    found = types.SimpleNamespace(hypotheses=[[*end]], scores=[-0.5])
    translator = types.SimpleNamespace(translate_batch=lambda rows, **_: [found for _ in rows])
    monkeypatch.setattr(theirs, "_translator", translator)
    assert theirs.predictor(num_beams=1)(["a man"]) == [Generated([""], [-0.5], [-0.5], [True])]


def test_it_has_no_signatures(pair):
    with pytest.raises(ValueError, match="has no signatures. Use /v1/tasks"):
        Answers(pair[1]).call({"signature": "", "requests": [{"text": ["a"]}]}, [])


def test_its_description(pair):
    described = description(pair[1])
    assert described["options"] == ["num_beams", "num_return", "alpha", "max_length"]
    assert described["joins"] and not described["numbered"] and not described["streams"] and not described["attention"]


def test_a_damaged_folder_is_named(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"no model")
    with pytest.raises(ValueError, match="has no vocabulary"):
        load(tmp_path)
    text.Words.train(LINES).save(tmp_path / "shared.words")
    with pytest.raises(ValueError, match="is damaged"):
        load(tmp_path)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "model.bin").touch()
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ImportError) as missing:
        load(tmp_path)
    assert str(missing.value) == f"{tmp_path} needs the extra `ctranslate2`: pip install 'keras-seq[ctranslate2]'"


def test_other_folders_are_loaded_as_those_of_keras_seq(tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        load(str(tmp_path / "none"))
    assert str(tmp_path / "none") in str(missing.value)

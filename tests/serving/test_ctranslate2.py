"""A CTranslate2 folder answers as the task that it was exported from."""

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
    assert theirs.predictor()([]) == []


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

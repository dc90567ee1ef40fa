"""Transcription around a model that stands in for a recognizer."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import decoding, tasks, text
from keras_seq.tasks.transcription import Labels, transcribing
from tests.tasks.stand_ins import LOGIT, Function, Model, Recognizer, described

WORDS = text.Words(["low", "middle", "high"])
FRAMES = Model(output=keras.KerasTensor((None, None, 7)))  # returns labels of frames, for CTC
MICROPHONE = [Model(sampling_rate=100)]


def transcription(**options):
    return tasks.Transcription(Recognizer(layers=MICROPHONE), WORDS, max_length=3, **options)


def test_the_functions_of_a_model_that_encodes_and_decodes():
    functions = transcription(search="greedy").signatures()
    assert sorted(functions) == ["describe", "detokenize", "encode", "step", "transcribe"]
    assert functions["describe"].function() == {"sampling_rate": 100}
    found = functions["transcribe"].function(tf.constant([[0.0, 0.0], [2.0, 2.0]]))
    assert found["text"].numpy().tolist() == [b"low", b"high"]
    np.testing.assert_allclose(found["log_prob"], [-2 * np.log(1 + 6 * np.exp(-LOGIT))] * 2, rtol=1e-5)
    state = functions["encode"].function(waveform=tf.constant([[1.0, 1.0], [0.0, 0.0]]))
    assert state["tokens"].numpy().tolist() == [[WORDS.start_id]] * 2
    for tokens in ([5, 4], [WORDS.end_id] * 2):
        state = functions["step"].function(**{"tokens": [[0], [0]], **state})
        assert state.pop("log_probs").numpy().argmax(1).tolist() == tokens


def test_another_search_of_a_model_that_encodes_and_decodes():
    task = transcription(search="greedy")
    found = task.with_search({"num_beams": 3, "search": "beam", "ban": ["low"], "max_length": 5})
    assert (found.max_length, found.options["search"].num_beams) == (5, 3)
    (banned,) = found.options["constraints"]
    assert isinstance(banned, decoding.Banned) and found.vocabulary is WORDS
    assert found.signatures()["transcribe"].function(tf.constant([[0.0]]))["text"] != b"low"
    with pytest.raises(ValueError, match="`constraints` cannot be saved. Give them to the calls of the task."):
        found.config()
    assert task.with_search({}).options["search"] == "greedy"  # which has log p as its score
    config = task.with_search({"search": "beam", "alpha": 0.5}).config()
    assert config["max_length"] == 3 and config["search"]["length_penalty"] == [0.5, 0.0]


def test_another_search_of_labels_of_frames():
    task = tasks.Transcription(FRAMES, WORDS, max_length=3)
    found = task.with_search({"search": "beam", "num_beams": 4})
    assert found.config() == {"max_length": 3, "search": "beam", "num_beams": 4}
    assert task.with_search({}).options == {"search": "greedy"}
    advice = "Model returns labels of frames \\(CTC\\). Use `search` greedy, the default, without more options"
    for options, names in (
        ({"num_beams": 4, "ban": ["low"]}, "`num_beams`, `ban`"),
        ({"search": "beam", "alpha": 1.0}, "`alpha`"),
        ({"search": "sampling"}, "`search`"),
    ):
        with pytest.raises(ValueError, match=f"^{names}: {advice}"):
            task.with_search(options)


def test_a_list_of_labels():
    ids = tf.constant([[1, 0, 2], [0, 0, 0], [2, 2, 0]])
    assert Labels(["up", "down"]).detokenize(ids).numpy().tolist() == [b"up down", b"", b"down down"]
    with pytest.raises(ValueError, match="A run folder needs the vocabulary of a recognizer. Received: a list"):
        tasks.Transcription(FRAMES, ["up", "down"])._save_parts(None)
    with pytest.raises(ValueError, match="A model that encodes and decodes needs a vocabulary. Received: a list"):
        tasks.Transcription(Recognizer(), ["up", "down"]).signatures()


def test_the_calls_by_which_recognizers_are_compared():
    functions = {"transcribe": Function(waveform=tf.TensorSpec([None, None]))}
    task, samples = transcription(), [np.ones(4), np.ones(6)]
    batches = [("transcribe", {"waveform": shape}) for shape in ((1, 4), (1, 6), (2, 6))]
    assert described(task.calls(functions, samples)) == batches
    functions |= {"encode": Function(waveform=tf.TensorSpec([None, None]), max_length=tf.TensorSpec([])), "describe": 0}
    steps = [
        ("encode", {"waveform": (2, 6), "max_length": ()}),
        ("step", {}),
        ("step", {"tokens": (2, 1)}),
        ("detokenize", {"tokens": (2, 2)}),
    ]
    assert described(task.calls(functions, samples)) == [*batches, *steps, ("describe", {})]


def test_a_model_that_writes_nothing_down(tmp_path):
    with pytest.raises(ValueError, match="best.keras is a Model, not a speech recognizer: it has no `LogMel` layer"):
        tasks.Transcription.load(tmp_path, tmp_path / "best.keras", {}, FRAMES)


def test_the_search_of_a_run_folder(tmp_path):
    (tmp_path / "vocabulary").mkdir()
    WORDS.save(tmp_path / "vocabulary/vocabulary.words")
    options = transcription(search=decoding.Beam(num_beams=2)).config()
    found = tasks.Transcription.load(tmp_path, tmp_path / "best.keras", options, Recognizer(layers=MICROPHONE))
    assert found.options["search"] == decoding.Beam(num_beams=2) and found.max_length == 3
    model = Recognizer(layers=MICROPHONE, target_vocabulary_size=9)
    with pytest.raises(ValueError, match="the vocabulary has 7 tokens, but best.keras was trained with 9"):
        tasks.Transcription.load(tmp_path, tmp_path / "best.keras", options, model)


def test_recordings_that_are_none():
    def function(waveform):
        column = tf.reduce_sum(waveform, axis=1)
        return {"text": tf.strings.as_string(column, precision=0), "score": column, "log_prob": -column}

    run = transcribing(function, rate=10, max_seconds=1)
    bad = [np.ones((2, 2)), np.array([1.0, np.nan]), np.zeros(0), np.ones(11)]
    *failed, long, good = run([*bad, np.ones(3)])
    shapes = [(2, 2), (2,), (0,)]
    told = [f"a recording must be an array (samples,) of finite numbers. Received: {shape}" for shape in shapes]
    assert [one.reason for one in failed] == told
    assert long.reason == "1.1 s are more than `max_seconds` 1"
    assert good == ("3", 3.0, -3.0)

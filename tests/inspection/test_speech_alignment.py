import keras
import numpy as np
import pytest

from keras_seq import models, tasks, text
from keras_seq.inspection.speech_alignment import speech_alignment
from tests.reference import fill

if keras.backend.backend() != "tensorflow":
    pytest.skip("vocabularies need TensorFlow", allow_module_level=True)

WORDS = text.Words(["one", "two", "three"])
WAVEFORM = np.random.default_rng(1).normal(size=4_000).astype("float32")
SMALL = {"units": 8, "num_layers": 1}


def ears():
    return models.audio_front_end(8, sampling_rate=8_000, num_mel_bins=8)


@pytest.fixture(scope="module")
def recognizer():
    return fill(models.recognizer(WORDS.size, front_end=ears(), head="ctc", architecture="gru", **SMALL))


def test_labels_of_each_step(recognizer):
    found = speech_alignment(recognizer, WAVEFORM, WORDS, "")
    logits = np.asarray(recognizer(WAVEFORM[None]))[0]
    assert found.weights.shape == (WORDS.size, len(logits)) == (len(found.names), len(logits))
    np.testing.assert_allclose(found.weights.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.weights.argmax(axis=0), logits.argmax(axis=1))
    assert found.names[found.blank] == "blank" and found.blank == WORDS.pad_id
    assert [found.names[id] for id in WORDS.tokenize("two one").numpy()] == ["two", "one"]
    assert found.features.shape[1] == 8 and found.features.shape[0] >= 4 * (len(logits) - 1)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(
            lambda: models.Seq2Seq(None, WORDS.size, source_front_end=ears(), attention="location", **SMALL),
            marks=pytest.mark.long,
        ),
        lambda: models.Transformer(None, WORDS.size, source_front_end=ears(), num_heads=2, **SMALL),
    ],
    ids=["recurrent", "transformer"],
)
def test_where_a_decoder_looks(build):
    model = build()
    found = speech_alignment(model, WAVEFORM, WORDS, "two one")
    assert found.names[:2] == ["two", "one"] and len(found.names) == 3 and found.blank is None
    assert found.weights.shape[0] == 3
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-5)


def test_a_transcriber_says_of_many_what_it_says_of_one(recognizer):
    transcribe = tasks.Transcription(recognizer, WORDS)
    waveforms = [WAVEFORM[:length] for length in (3_000, 500, 4_000, 2_000, 500)]
    together = transcribe(waveforms)
    assert together == [transcribe([waveform])[0] for waveform in waveforms]
    assert together[1] == together[4] and any(together)
    assert transcribe([]) == []
    for variable in recognizer.trainable_variables:  # trained further
        variable.assign(keras.ops.zeros_like(variable))
    assert transcribe(waveforms) != together

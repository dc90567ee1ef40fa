import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel needs TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import decoding, export, layers, models, tasks, text
from keras_seq.export.saved_model import write
from keras_seq.tasks.signatures import Exported, for_inference, inputs_of
from tests.export.conftest import BYTES, TAGS, TEXTS, marked
from tests.export.test_translation import batch, specs, strings

AUDIO = np.random.default_rng(1).normal(size=(3, 4000)).astype("float32")
AUDIO[1, 2500:] = AUDIO[2, 900:] = 0.0


@pytest.mark.parametrize("name", marked(["classifier, lstm, words", "classifier, cnn, subwords"]))
def test_classes_of_texts(name, exports):
    case = exports(name)
    names = case.task.labels[""]
    assert specs(case.loaded.signatures["classify"]) == {"text": (tf.string, [None])}
    seen = set()
    for texts in (TEXTS, BYTES, TEXTS[1:2], []):
        found = case.loaded.signatures["serving_default"](text=batch(texts))
        assert found["probabilities"].shape == found["labels"].shape == (len(texts), len(names))
        end = [case.vocabulary.end_id] * case.task.add_end
        for row, one in enumerate(texts):
            ids = [*case.vocabulary.tokenize([one]).to_list()[0], *end] or [case.vocabulary.pad_id]
            logits = case.model(np.array([ids], "int32"))[0].numpy()  # alone, without padding
            probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            np.testing.assert_allclose(found["probabilities"][row], probabilities, atol=1e-5)
            assert strings(found["label"])[row] == names[probabilities.argmax()]
            assert float(found["probability"][row]) == pytest.approx(probabilities.max(), abs=1e-5)
            assert strings(found["labels"])[row] == names
            seen.add(strings(found["label"])[row])
    assert len(seen) > 1


def tagged_alone(case, line):
    """The tags of one text, words and letters without padding, and the words."""
    words = line.split() if isinstance(line, str) else line.split()
    words = [word.encode() if isinstance(word, str) else word for word in words]
    return tags_alone(case, words), words


def tags_alone(case, words):
    if not words:
        return []
    ids = case.vocabulary.lookup(words).numpy()[None]
    inputs = ids
    if case.task.characters is not None:
        inputs = {"words": ids, "characters": case.task.characters.tokenize(words).to_tensor().numpy()[None]}
    found = case.model(inputs).numpy()
    numbers = found[0] if found.ndim == 2 else found[0].argmax(axis=1)
    return [TAGS[number] for number in numbers]


@pytest.mark.parametrize("name", marked(["tagger, words", "tagger, crf over words and characters"]))
def test_tags_of_words(name, exports, rewriting):
    case = exports(name)
    lines = [*TEXTS, "  the\tdog  runs ", "brown fox"]
    found = case.loaded.signatures["tag"](text=batch(lines))
    assert found["tags"].shape == found["words"].shape == (len(lines), 10)
    seen = set()
    for row, line in enumerate(lines):
        tags, words = tagged_alone(case, line)
        assert strings(found["tags"])[row] == tags + [""] * (10 - len(tags))
        assert found["words"][row].numpy().tolist()[: len(words)] == words
        seen |= set(tags)
    assert len(seen) > 1
    split = tf.constant([["two", "lazy dog", ""], ["", "", ""], ["über die", "runs", "dog"]])
    tags = strings(case.loaded.signatures["tag_words"](words=tf.pad(split, [[0, 0], [0, 2]]))["tags"])
    for row, words in zip(tags, split.numpy().tolist(), strict=True):
        alone = tags_alone(case, [word for word in words if word])
        assert row == alone + [""] * (5 - len(alone))
    assert case.loaded.signatures["tag"](text=batch(["", " "]))["tags"].shape == (2, 0)
    assert case.loaded.signatures["tag"](text=batch([]))["words"].shape == (0, 0)


def test_ctc_gives_texts(exports):
    case = exports("recognizer, ctc")
    assert specs(case.loaded.signatures["transcribe"]) == {"waveform": (tf.float32, [None, None])}
    found = case.loaded.signatures["transcribe"](waveform=tf.constant(AUDIO))
    logits = case.model(AUDIO)
    expected = decoding.ctc(logits, [logits.shape[1]] * 3, search="beam", num_beams=4, num_return=2)
    np.testing.assert_allclose(found["log_prob"], expected.log_probs, atol=1e-4)
    for row in range(3):
        for rank in range(2):
            ids = expected.tokens[row, rank, : int(expected.lengths[row, rank])]
            assert found["text"][row, rank].numpy() == case.vocabulary.detokenize(ids).numpy()
    assert len(set(found["text"].numpy().ravel().tolist())) > 2
    shorter = case.loaded.signatures["transcribe"](waveform=tf.constant(AUDIO[2:, :900]))
    np.testing.assert_allclose(shorter["log_prob"], found["log_prob"][2:], atol=1e-4)


@pytest.mark.long
def test_ctc_gives_labels(exports):
    case = exports("recognizer, ctc, labels")
    found = case.loaded.signatures["transcribe"](waveform=tf.constant(AUDIO))
    logits = case.model(AUDIO).numpy()
    for row in range(3):
        best = logits[row].argmax(axis=1)
        said = [label for label, before in zip(best, [0, *best], strict=False) if label not in (0, before)]
        assert strings(found["text"])[row] == " ".join(["one", "two", "three"][label - 1] for label in said)
    assert found["text"].shape == found["score"].shape == (3,)
    assert any(found["text"].numpy())


@pytest.mark.long
def test_a_model_that_hears_and_decodes(exports):
    case = exports("seq2seq that hears")
    with pytest.raises(ValueError, match="needs a vocabulary. Received: a list of labels"):
        tasks.Transcription(case.model, ["a", "b"]).signatures()
    assert isinstance(tasks.find_task(case.model, case.vocabulary, search="greedy"), tasks.Transcription)
    found = case.loaded.signatures["transcribe"](waveform=tf.constant(AUDIO))
    ids = {"start_id": case.vocabulary.start_id, "end_id": case.vocabulary.end_id, "pad_id": case.vocabulary.pad_id}
    expected = decoding.search(case.model, AUDIO, search="greedy", max_length=9, **ids)
    texts = case.vocabulary.detokenize(expected.tokens[:, 0]).numpy().tolist()
    assert found["text"].numpy().tolist() == texts and len(set(texts)) > 1
    np.testing.assert_allclose(found["log_prob"], expected.log_probs[:, 0], atol=1e-4)
    state, said = case.loaded.signatures["encode"](waveform=tf.constant(AUDIO)), []
    for _ in range(9):
        state = case.loaded.signatures["step"](**state)
        state["tokens"] = tf.argmax(state.pop("log_probs"), axis=1, output_type=tf.int32)[:, None]
        said.append(state["tokens"])
    detokenized = case.loaded.signatures["detokenize"](tokens=tf.concat(said, axis=1))
    assert detokenized["text"].numpy().tolist() == texts


@pytest.mark.long
def test_classes_of_sounds_and_clips(exports):
    case = exports("recognizer, classes")
    found = case.loaded.signatures["classify"](waveform=tf.constant(AUDIO))
    best = case.model(AUDIO).numpy().argmax(axis=1)
    assert strings(found["label"]) == [["zero", "one", "two"][number] for number in best]
    case = exports("video classifier, two questions")
    clips = np.random.default_rng(2).random((4, 5, 8, 8, 1), "float32")
    found = case.loaded.signatures["classify"](frames=tf.constant(clips))
    logits = case.model(clips)
    for question, names in (("digit", ["0", "1", "2"]), ("way", ["left", "right"])):
        best = logits[question].numpy().argmax(axis=1)
        assert strings(found[f"{question}_label"]) == [names[number] for number in best]
        np.testing.assert_allclose(found[f"{question}_probabilities"], tf.nn.softmax(logits[question]), atol=1e-5)
        assert found[f"{question}_labels"].shape == (4, len(names)) and found[f"{question}_probability"].shape == (4,)


@pytest.mark.parametrize("rates", [{}, {"dropout": 0.2, "recurrent_dropout": 0.3}], ids=["none", "dropout"])
@pytest.mark.parametrize(
    "layer",
    [layers.SimpleRNN, layers.GRU, layers.LSTM, keras.layers.SimpleRNN, keras.layers.GRU, keras.layers.LSTM],
    ids=lambda kind: f"{kind.__module__.split('.')[0]}-{kind.__name__}",
)
def test_a_recurrent_layer_is_served_without_the_masks_that_it_draws(layer, rates, tmp_path):
    model = keras.Sequential([keras.Input((5, 3)), layer(4, **rates), keras.layers.Dense(2)])
    x = np.ones((2, 5, 3), "float32")
    served_without_random_numbers(tasks.Tensors(model), x, tmp_path)
    with for_inference(model):  # it may be entered twice
        served_without_random_numbers(tasks.Tensors(model), x, tmp_path)
    once, again = (model(x, training=True).numpy() for _ in range(2))
    assert np.array_equal(once, again) == (not rates)


def test_a_convlstm_is_served_without_the_masks_that_it_draws(tmp_path):
    model = models.video_classifier((8, 8, 1), 2, architecture="convlstm", units=8, filters=(4,))
    clips = np.random.default_rng(2).random((4, 5, 8, 8, 1), "float32")
    served_without_random_numbers(tasks.Tensors(model), clips, tmp_path)


def test_a_tagger_with_recurrent_dropout_is_served_in_both_directions(tmp_path):
    stack = {"architecture": "gru", "architecture_options": {"recurrent_dropout": 0.3}}
    model = models.tagger(9, 3, units=4, bidirectional=True, **stack)
    served_without_random_numbers(tasks.Tensors(model), np.array([[5, 6, 7], [8, 0, 0]], "int32"), tmp_path)


def test_a_language_model_with_recurrent_dropout_continues_texts(tmp_path):
    vocabulary = text.Words.train(["a b c", "b c a"])
    model = models.LanguageModel(vocabulary.size, layers.RecurrentStack("lstm", 4, recurrent_dropout=0.3))
    task = tasks.Generation(model, vocabulary, search="greedy", max_length=5)
    exported = Exported(task.exported_model(), {"generate": task.signatures()["generate"]}, task.resources)
    write(model, exported, tmp_path)
    first, second = strings(tf.saved_model.load(tmp_path).generate(text=tf.constant(["a b", "c"]))["text"])
    assert [f"a b {first}", f"c {second}"] == task(["a b", "c"])


def served_without_random_numbers(task, inputs, folder):
    exported = Exported(task.exported_model(), task.signatures(), task.resources)
    drawn = [node.type for node in exported.serve.graph.get_operations() if "Random" in node.type]
    write(task.model, exported, folder)
    (name,) = inputs_of(exported.serve)
    (found,) = tf.saved_model.load(folder).serve(**{name: tf.constant(inputs)}).values()
    assert not drawn
    np.testing.assert_allclose(found, task.model(inputs), atol=1e-5)


def test_forecasts_are_in_the_units_of_the_series(exports):
    case, random = exports("forecaster, quantiles"), np.random.default_rng(3)
    past = (random.normal(size=(2, 11, 3)) * [2.0, 1.0, 50.0] + [10.0, -3.0, 100.0]).astype("float32")
    known = random.normal(size=(2, 4, 2)).astype("float32")
    given = {"past": tf.constant(past), "known_future": tf.constant(known)}
    found = case.loaded.signatures["forecast"](**given)["forecast"].numpy()
    scaled = ((past - [10.0, -3.0, 100.0]) / [2.0, 1.0, 50.0]).astype("float32")
    expected = case.model({"past": scaled, "known_future": known}).numpy()
    assert found.shape == (2, 4, 1, 3)
    np.testing.assert_allclose(found, expected * 50 + 100, rtol=1e-4)
    told = {name: x.numpy().tolist() for name, x in case.loaded.signatures["describe"]().items()}
    assert (told["columns"], told["targets"]) == ([b"a", b"b", b"c"], [b"c"])
    assert (told["look_back"], told["horizon"], len(told["quantiles"])) == (8, 4, 3)


@pytest.mark.long
def test_forecasts_of_all_columns(exports):
    case, past = exports("forecaster, linear"), np.random.default_rng(3).normal(size=(2, 11, 3)).astype("float32")
    scaled = ((past - [10.0, -3.0, 100.0]) / [2.0, 1.0, 50.0]).astype("float32")
    found = case.loaded.signatures["forecast"](past=tf.constant(past))["forecast"].numpy()
    expected = case.model(scaled).numpy() * [2.0, 1.0, 50.0] + [10.0, -3.0, 100.0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)  # numbers near zero are differences of hundreds


@pytest.mark.long
def test_a_lone_tensor_has_a_name(exports):
    case, clips = exports("frame predictor"), np.random.default_rng(4).random((2, 3, 8, 8, 1), "float32")
    found = case.loaded.signatures["serve"](inputs=tf.constant(clips))
    np.testing.assert_allclose(found["outputs"], case.model(clips), atol=1e-5)


def test_a_model_that_takes_and_gives_its_state_streams(exports):
    case = exports("a cell that gives its state")
    x = np.random.default_rng(5).normal(size=(2, 6, 2)).astype("float32")
    serve, state = case.loaded.signatures["serve"], {"h": tf.zeros((2, 4))}
    whole = case.model({"x": x, "h": np.zeros((2, 4), "float32")})["scores"]
    for start, end in ((0, 1), (1, 4), (4, 6)):  # as it comes
        state = serve(x=tf.constant(x[:, start:end]), **state)
        np.testing.assert_allclose(state.pop("scores"), whole[:, start:end], atol=1e-5)


class Doubled(keras.Model):
    """No functional model, and words inside."""

    def __init__(self):
        super().__init__()
        self.lookup = keras.layers.StringLookup(vocabulary=["a", "b"])
        self.table = keras.layers.Embedding(3, 2)

    def call(self, inputs):
        return self.table(self.lookup(inputs[0])) * inputs[1][:, None], inputs[1]


def test_a_model_of_another_kind_needs_an_example(tmp_path):
    model, example = Doubled(), [np.array(["a", "b", "z"], object), np.array([1.0, 2.0, 3.0], "float32")]
    expected = model([tf.constant(example[0].tolist()), example[1]])
    path = export.saved_model(tasks.Tensors(model, example), tmp_path / "a", verify=False)
    loaded = tf.saved_model.load(str(path)).signatures["serve"]
    found = loaded(inputs_0=tf.constant(["z", "a"]), inputs_1=tf.constant([3.0, 1.0]))
    np.testing.assert_allclose(found["outputs_0"], tf.gather(expected[0], [2, 0]), rtol=1e-6)
    assert found["outputs_1"].numpy().tolist() == [3.0, 1.0]


def test_what_does_not_belong_together_is_refused(exports, tmp_path):
    classifier = exports("classifier, lstm, words")
    tagger = models.tagger(classifier.vocabulary.size, 4, architecture="feedforward", units=8)
    for model, task, message in (
        (
            classifier.model,
            lambda m, v: tasks.Classification(m, v, ["a", "b"]),
            r"the model's outputs, 3. Received: \('a', 'b'\)",
        ),
        (
            classifier.model,
            lambda m, v: tasks.Classification(m, v, "abc"),
            "`labels` must be a list of names. Received: 'abc'",
        ),
        (
            tagger,
            lambda m, v: tasks.Tagging(m, v, TAGS[:3]),
            r"logits \(B, T, 3\), one for each .* float32 \(None, None, 4\)",
        ),
        (tagger, lambda m, v: tasks.Tagging(m, v, []), r"`tags` must be a list of names"),
        (
            classifier.model,
            lambda m, v: tasks.Transcription(m, ["a", "b"]),
            r"logits \(B, T, 3\).* It returns: \(None, 3\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            export.saved_model(task(model, classifier.vocabulary), tmp_path / "a")
    assert not list(tmp_path.iterdir())

import importlib

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel needs TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import decoding, export, models, text

module = importlib.import_module("keras_seq.export.saved_model")  # `export.saved_model` is the function

LINES = ["the quick brown fox jumps over the lazy dog", "two men ride a horse", "über die straße läuft ein hund"]
TEXTS = ["two men ride", "", "a dog", " \t ", "zzz 🐎 b", "the horse " * 12, "ein hund"]
BYTES = [b"\xff\xfe a dog \x80", b"\0a\0 horse", b"\xed\xa0\x80", b"\n", "\u200b\ufffd ﷽".encode()]


def seq2seq(vocabulary, **options):
    return models.Seq2Seq(vocabulary.size, **{"units": 16, "num_layers": 1, **options})


MODELS = {
    "lstm, attention, subwords": (text.Subwords, seq2seq),
    "gru, reversed source, words": (
        text.Words,
        lambda v: seq2seq(v, cell="gru", attention="none", bidirectional=False, reverse_source=True),
    ),
    "transformer, subwords": (
        text.Subwords,
        lambda v: models.Transformer(v.size, units=16, num_heads=2, num_layers=1),
    ),
}


def vocabulary_of(kind):
    keras.utils.set_random_seed(3)  # before: it clears TensorFlow's kernels, and with them a SentencePiece tokenizer's
    return kind.train(LINES, 80, hard_vocab_limit=False) if kind is text.Subwords else kind.train(LINES)


def loud(model):
    """Weights three times as large, so that the results differ from text to text."""
    for weight in model.weights:
        weight.assign(3 * weight)
    return model


@pytest.fixture(scope="module", params=MODELS)
def translation(request):
    kind, build = MODELS[request.param]
    vocabulary = vocabulary_of(kind)
    return loud(build(vocabulary)), vocabulary


@pytest.fixture(scope="module")
def words():
    vocabulary = vocabulary_of(text.Words)
    return loud(seq2seq(vocabulary, cell="rnn", attention="none", bidirectional=False)), vocabulary


def strings(tensor):
    return np.vectorize(bytes.decode, otypes=[object])(tensor.numpy()).tolist() if len(tensor) else []


def call(folder, texts, signature="translate"):
    found = tf.saved_model.load(str(folder)).signatures[signature](text=tf.constant(texts, tf.string, [len(texts)]))
    return strings(found["text"]), found["score"].numpy()


def a_saved_model(folder):
    old = tf.Module()
    old.number = tf.Variable(1.0)
    tf.saved_model.save(old, str(folder))
    return folder


def test_it_is_generate_with_strings_and_scores(translation, tmp_path):
    model, vocabulary = translation
    path = export.saved_model(model, tmp_path / "new" / "folder", vocabulary, verify=False, num_beams=3)
    assert path == tmp_path / "new" / "folder" and [p.name for p in path.parent.iterdir()] == ["folder"]
    loaded = tf.saved_model.load(str(path))
    assert set(loaded.signatures) == {"translate", "serving_default"}
    for function in loaded.signatures.values():
        (given,) = function.structured_input_signature[1].values()
        assert (given.name, given.dtype, given.shape.as_list()) == ("text", tf.string, [None])
        assert {name: x.dtype for name, x in function.structured_outputs.items()} == {
            "text": tf.string,
            "score": tf.float32,
        }
    for texts in (TEXTS, TEXTS[:1], TEXTS[1:2], BYTES, []):
        found = loaded.signatures["translate"](text=tf.constant(texts, tf.string, [len(texts)]))
        # One batch, as here: what never ends is cut at twice the longest source of the batch.
        assert strings(found["text"]) == decoding.generate(model, vocabulary, texts, num_beams=3, batch_tokens=10**6)
        assert found["text"].shape == found["score"].shape == (len(texts),)
        assert np.isfinite(found["score"]).all()
        if texts is TEXTS:
            scores = found["score"].numpy()
            assert (scores[[1, 3]] == 0).all() and (np.delete(scores, [1, 3]) < 0).all()
            assert len(set(strings(found["text"]))) > 2


def test_the_score_is_the_score_of_the_search(words, tmp_path):
    model, vocabulary = words
    options = {"num_beams": 3, "max_length": 9, "length_penalty": decoding.gnmt_penalty(0.6)}
    _, scores = call(export.saved_model(model, tmp_path / "a", vocabulary, verify=False, **options), ["ein hund"])
    source = vocabulary.tokenize(["ein hund"]).to_tensor().numpy().tolist()[0] + [vocabulary.end_id]
    ids = {"start_id": vocabulary.start_id, "end_id": vocabulary.end_id, "pad_id": vocabulary.pad_id}
    found = decoding.search(model, np.array([source], "int32"), **options, **ids)
    np.testing.assert_allclose(scores, found.scores[0], rtol=1e-5)


def test_several_results(words, tmp_path):
    model, vocabulary = words
    options = {"num_beams": 4, "num_return": 3}
    path = export.saved_model(model, tmp_path / "a", vocabulary, verify=False, **options)
    found, scores = call(path, TEXTS, "serving_default")
    assert found == decoding.generate(model, vocabulary, TEXTS, batch_tokens=10**6, **options)
    assert scores.shape == (len(TEXTS), 3) and (scores[1] == 0).all() and found[1] == ["", "", ""]
    found, scores = call(path, [])
    assert scores.shape == (0, 3)


def test_two_vocabularies_and_a_greedy_search(tmp_path):
    source, target = vocabulary_of(text.Words), vocabulary_of(text.Subwords)
    model = loud(models.Seq2Seq(source.size, target.size, units=16, num_layers=1))
    options = {"source_vocabulary": source, "num_beams": 1, "max_length": 12}
    path = export.saved_model(model, tmp_path / "a", target, verify=False, **options)
    found, _ = call(path, TEXTS)
    assert found == decoding.generate(model, target, TEXTS, **options)
    assert len(set(found)) > 2


def test_one_trace_serves_all_shapes(words):
    model, vocabulary = words
    translator = module.Translator(model, vocabulary, num_beams=2)
    for texts in (TEXTS, TEXTS[:2], [""], []):
        translator.translate(tf.constant(texts, tf.string, [len(texts)]))
    assert translator.translate.experimental_get_tracing_count() == 1


def test_only_the_weights_go_along(tmp_path):
    vocabulary = vocabulary_of(text.Words)
    model = seq2seq(vocabulary, attention="none", bidirectional=False, dropout=0.1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    ids = np.ones((2, 3), "int32")
    model.fit({"source": ids, "target": ids}, ids, verbose=0)
    path = export.saved_model(model, tmp_path / "a", vocabulary, verify=False)
    saved = [shape for name, shape in tf.train.list_variables(str(path / "variables" / "variables")) if shape]
    assert sum(np.prod(shape) for shape in saved) == model.count_params()
    assert {layer.use_cudnn for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")} == {"auto"}


def test_a_fresh_process_translates_the_same(tmp_path, monkeypatch):
    vocabulary = vocabulary_of(text.Subwords)
    model = loud(seq2seq(vocabulary))
    target = a_saved_model(tmp_path / "a")
    samples = [*TEXTS, *BYTES, "a " * 2000]
    monkeypatch.chdir(tmp_path)
    path = export.saved_model(model, "a", vocabulary, num_beams=2, num_return=2, max_length=50, samples=samples)
    assert path.resolve() == target and call(path, TEXTS)[1].shape == (len(TEXTS), 2)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


ANSWERS = """
import json, sys
folder, batches, results = sys.argv[1:]
json.dump([{{"text": [{text!r}] * len(batch), "score": [{score}] * len(batch)}}
           for batch in json.load(open(batches))], open(results, "w"))
"""


@pytest.fixture(scope="module")
def translator(words):
    """A translator, and what it makes of "ein hund"."""
    model, vocabulary = words
    translator = module.Translator(model, vocabulary, num_beams=1, max_length=8)
    found = translator.translate(tf.constant(["ein hund"]))
    return translator, found["text"].numpy()[0].decode("latin-1"), float(found["score"][0])


@pytest.mark.parametrize("off", [0.0, 5e-5, 3e-4, float("nan")])
def test_a_score_may_differ_by_a_rounding_error_and_no_more(off, translator, tmp_path, monkeypatch):
    translator, found, score = translator
    score = "float('nan')" if np.isnan(off) else score + off
    monkeypatch.setattr(module, "FRESH_PROCESS", ANSWERS.format(text=found, score=score))
    if off in (0.0, 5e-5):
        module._verify(tmp_path, translator, ["ein hund"], 30)
    else:
        with pytest.raises(RuntimeError, match=r"Of 'ein hund' this process makes .*\(score -.*fresh one .*\(score"):
            module._verify(tmp_path, translator, ["ein hund"], 30)


@pytest.mark.parametrize(
    ("script", "timeout", "message"),
    [
        ("import time; time.sleep(60)", 1, "longer than `timeout`=1 seconds"),
        ("raise SystemExit('Op type not registered')", 30, r"exit status 1\):\nOp type not registered"),
        (ANSWERS.format(text="falsch", score=-1.0), 30, "Of 'two men ride' this process makes '.*'falsch' .score -1"),
    ],
    ids=["slow", "failing", "otherwise"],
)
def test_a_fresh_process_that_goes_wrong(script, timeout, message, translator, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FRESH_PROCESS", script)
    with pytest.raises(RuntimeError, match=message):
        module._verify(tmp_path, translator[0], ["two men ride", "ein hund"], timeout)


@pytest.mark.parametrize("where", ["save", "verify"])
def test_what_fails_or_is_interrupted_leaves_the_old_one(where, words, tmp_path, monkeypatch):
    old = a_saved_model(tmp_path / "a")

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(*{"save": (tf.saved_model, "save"), "verify": (module, "_verify")}[where], interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.saved_model(words[0], old, words[1], num_beams=1)
    assert tf.saved_model.load(str(old)).number.numpy() == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_rename_that_fails_leaves_the_old_one(tmp_path):
    old = a_saved_model(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        module.swap(old, tmp_path / "missing", tmp_path / "aside")
    assert tf.saved_model.load(str(old)).number.numpy() == 1.0


def test_what_is_not_a_saved_model_is_left_alone(tmp_path):
    file, folder, mixed = tmp_path / "file", tmp_path / "folder", a_saved_model(tmp_path / "mixed")
    folder.mkdir()
    for path in (file, folder / "thesis.txt", mixed / "notes.txt"):
        path.write_text("mine")
    for path, message in ((file, "is a file"), (folder, "no SavedModel but thesis.txt"), (mixed, "also notes.txt")):
        with pytest.raises(ValueError, match=message):
            export.saved_model(None, path, None)
    with pytest.raises(ValueError, match="overwrite=True"):
        export.saved_model(None, a_saved_model(tmp_path / "b"), None, overwrite=False)
    assert (folder / "thesis.txt").read_text() == (mixed / "notes.txt").read_text() == file.read_text() == "mine"


def test_an_option_out_of_range_is_refused(words, tmp_path):
    with pytest.raises(ValueError, match="`num_return` must be from 1 to `num_beams`=2. Received: 3"):
        export.saved_model(words[0], tmp_path / "a", words[1], num_beams=2, num_return=3)
    assert not list(tmp_path.iterdir())

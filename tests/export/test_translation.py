import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel needs TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import decoding, export, models, tasks, text
from keras_seq.tasks.signatures import Exported
from tests.export.conftest import BYTES, TEXTS, loud, marked, vocabulary_of

NAMES = ["gru, attention, subwords", "lstm, attention, subwords", "gru, reversed source, words"]
ROOM = ["transformer, subwords", "two models together"]  # those whose state has room for so many tokens
NAMES += ROOM
ALL = 10**6  # tokens: one batch, as in the graph, for what never ends is cut at twice the longest source of the batch


def strings(tensor):
    return np.vectorize(bytes.decode, otypes=[object])(tensor.numpy()).tolist() if len(tensor) else []


def batch(texts):
    return tf.constant(texts, tf.string, [len(texts)])


def specs(function):
    return {x.name: (x.dtype, x.shape.as_list()) for x in function.structured_input_signature[1].values()}


@pytest.mark.parametrize("name", marked(NAMES))
def test_translate_is_generate(name, exports):
    case = exports(name)
    model, vocabulary, search = case.model, case.vocabulary, case.task.search
    R, options = search.num_return, {"search": search, "max_length": case.task.max_length, "batch_tokens": ALL}
    signatures = case.loaded.signatures
    for signature in ("translate", "serving_default"):
        assert specs(signatures[signature]) == {"text": (tf.string, [None])}
    for texts in (TEXTS, TEXTS[1:2], BYTES, []):
        found = signatures["translate"](text=batch(texts))
        assert {key: x.dtype for key, x in found.items()} == {
            "text": tf.string,
            "score": tf.float32,
            "log_prob": tf.float32,
            "finished": tf.bool,
        }
        assert strings(found["text"]) == decoding.generate(model, vocabulary, texts, **options)
        assert {x.shape[1:] for x in found.values()} == {() if R == 1 else (R,)}
        assert np.isfinite(found["score"]).all() and len(found["score"]) == len(texts)
        if texts is TEXTS:
            empty, some = [1, 3], [0, 2, 4, 5, 6]
            assert not found["score"].numpy()[empty].any() and not found["log_prob"].numpy()[empty].any()
            assert (found["score"].numpy()[some] < 0).all() and (found["log_prob"].numpy()[some] < 0).all()
            assert found["finished"].numpy()[empty].all()
            assert len({str(row) for row in strings(found["text"])}) > 2


@pytest.mark.parametrize("name", marked(NAMES[:3]))
def test_the_scores_are_those_of_the_search(name, exports):
    case = exports(name)
    source = case.vocabulary.tokenize(["ein hund"]).to_tensor().numpy().tolist()[0] + [case.vocabulary.end_id]
    ids = {"start_id": case.vocabulary.start_id, "end_id": case.vocabulary.end_id, "pad_id": case.vocabulary.pad_id}
    options = {"length_penalty": decoding.power_penalty(0.5), "num_beams": 3, "num_return": case.task.search.num_return}
    expected = decoding.search(case.model, np.array([source], "int32"), max_length=6, **options, **ids)
    given = {"max_length": tf.constant(6), "alpha": tf.constant(0.5)}
    found = case.loaded.translate_with_options(batch(["", "ein hund"]), **given)
    np.testing.assert_allclose(tf.reshape(found["score"][1], [-1]), expected.scores[0], rtol=1e-5)
    np.testing.assert_allclose(tf.reshape(found["log_prob"][1], [-1]), expected.log_probs[0], rtol=1e-5)


@pytest.mark.parametrize("name", marked(NAMES))
def test_options_are_inputs_with_the_exported_values(name, exports):
    case = exports(name)
    penalized = isinstance(case.task.search, decoding.Beam)
    signature = specs(case.loaded.signatures["translate_with_options"])
    assert signature == {"text": (tf.string, [None]), "max_length": (tf.int32, [])} | (
        {"alpha": (tf.float32, [])} if penalized else {}
    )
    run = case.loaded.translate_with_options
    given = {} if case.task.max_length else {"max_length": tf.constant(11)}
    left_out = run(batch(TEXTS), **given)
    as_exported = decoding.generate(
        case.model,
        case.vocabulary,
        TEXTS,
        search=case.task.search,
        max_length=case.task.max_length or 11,
        batch_tokens=ALL,
    )
    assert strings(left_out["text"]) == as_exported
    short = run(batch(TEXTS), max_length=tf.constant(2))
    assert strings(short["text"]) != as_exported
    assert strings(short["text"]) == decoding.generate(
        case.model, case.vocabulary, TEXTS, search=case.task.search, max_length=2, batch_tokens=ALL
    )
    if penalized:
        free = run(batch(TEXTS), max_length=tf.constant(9), alpha=tf.constant(0.0))
        np.testing.assert_allclose(free["score"], free["log_prob"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="`max_length` must be at least 1"):
        run(batch(TEXTS), max_length=tf.constant(0))


@pytest.mark.parametrize("name", marked(NAMES))
def test_score_is_forced_decoding_and_so_are_the_steps(name, exports):
    case = exports(name)
    sources, targets = TEXTS[:5], ["a horse", "two", "", "dog dog ein", "jumps"]
    found = case.loaded.signatures["score"](text=batch(sources), target=batch(targets))
    expected = decoding.perplexity(case.model, case.vocabulary, targets, sources=sources)
    np.testing.assert_allclose(found["log_prob"], expected.log_probs, atol=1e-4)
    assert found["num_tokens"].numpy().tolist() == expected.lengths.tolist()
    ids = [[*row, case.vocabulary.end_id] for row in case.vocabulary.tokenize(targets).to_list()]
    for row, pieces in enumerate(strings(found["tokens"])):
        assert pieces[: len(ids[row])] == case.vocabulary.pieces(ids[row]) and not any(pieces[len(ids[row]) :])
        np.testing.assert_allclose(
            found["token_log_probs"][row, : len(ids[row])], expected.token_log_probs[row], atol=1e-4
        )

    encode, step = (case.loaded.signatures[name] for name in ("encode", "step"))
    room = {"max_length": tf.constant(9)} if "max_length" in specs(encode) else {}
    assert bool(room) == (name in ROOM)  # of the caches
    state = encode(text=batch(sources), **room)
    assert state["tokens"].numpy().tolist() == [[case.vocabulary.start_id]] * 5
    for t in range(max(map(len, ids))):
        state = step(**state)
        log_probs = state.pop("log_probs").numpy()
        told = [row[t] if t < len(row) else case.vocabulary.pad_id for row in ids]
        for row in range(5):
            if t < len(ids[row]):
                assert log_probs[row, told[row]] == pytest.approx(expected.token_log_probs[row][t], abs=1e-4)
        state["tokens"] = tf.constant(told)[:, None]
    padded = case.vocabulary.tokenize(targets).to_tensor()
    assert strings(case.loaded.signatures["detokenize"](tokens=padded)["text"]) == strings(
        case.vocabulary.detokenize(padded)
    )


@pytest.mark.long
def test_two_vocabularies_and_another_penalty(tmp_path):
    source, target = vocabulary_of(text.Words), vocabulary_of(text.Subwords)
    model = loud(models.Seq2Seq(source.size, target.size, units=16, num_layers=1, cell="rnn", attention=None))
    options = {"source_vocabulary": source, "num_beams": 2, "length_penalty": decoding.gnmt_penalty(0.6)}
    task = tasks.Translation(model, target, max_length=4, **options)
    path = export.saved_model(task, tmp_path / "new" / "a", verify=False)
    assert path == tmp_path / "new" / "a" and [p.name for p in path.parent.iterdir()] == ["a"]
    loaded = tf.saved_model.load(str(path))
    expected = decoding.generate(model, target, TEXTS, max_length=4, **options)
    assert strings(loaded.signatures["translate"](text=batch(TEXTS))["text"]) == expected
    assert len(set(expected)) > 2
    options["length_penalty"] = decoding.gnmt_penalty(3.0)
    other = decoding.generate(model, target, TEXTS, max_length=4, **options)
    found = loaded.translate_with_options(batch(TEXTS), alpha=tf.constant(3.0))
    assert strings(found["text"]) == other


def test_one_trace_serves_all_shapes(exports):
    case, calls = exports(NAMES[0]), []
    signature = case.task.signatures()["score"]

    def counted(**given):
        calls.append(given)
        return signature.function(**given)

    exported = Exported(case.model, {"score": signature._replace(function=counted)})
    for texts in (TEXTS, TEXTS[:2], [""], []):
        exported.score(text=batch(texts), target=batch(texts[::-1]))
    assert len(calls) == 1


def test_an_option_that_makes_no_sense_is_refused(exports):
    case = exports(NAMES[0])
    for message, options in (
        ("`num_return` must be from 1 to `num_beams`=2. Received: 3", {"num_beams": 2, "num_return": 3}),
        ("search='beam' has the options", {"beams": 3}),
        ("for each sentence", {"constraints": [decoding.Prefix(np.array([[4]]))]}),
    ):
        with pytest.raises(ValueError, match=message):
            tasks.Translation(case.model, case.vocabulary, **options)
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="neither translates nor continues texts"):
        tasks.find_task(keras.Model(inputs, keras.layers.Dense(2)(inputs)), case.vocabulary)

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel needs TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq import decoding, tasks
from keras_seq.decoding.generate import padded
from tests.export.conftest import BYTES, TEXTS, marked
from tests.export.test_translation import batch, specs, strings

NAMES = ["language model, lstm, words", "language model, transformer, subwords"]


def prompts(case, texts):
    """Ids, padded; the token before each text is the task's."""
    rows = [[case.task.begin_id, *row] for row in case.vocabulary.tokenize(texts).to_list()]
    return padded(rows, case.vocabulary.pad_id)


def continued(case, texts, search, max_length):
    """As decoding does it: results, and texts with their beginnings."""
    source = prompts(case, texts)
    ids = {"start_id": 0, "end_id": case.vocabulary.end_id, "pad_id": case.vocabulary.pad_id}
    model = decoding.PromptedModel(case.model, case.vocabulary.pad_id)
    found = decoding.search(model, source, search=search, max_length=max_length, **ids)
    R = found.tokens.shape[1]
    whole = np.concatenate([np.repeat(source[:, None, 1:], R, axis=1), found.tokens], axis=2)
    said, whole, before = (
        case.vocabulary.detokenize(x.reshape(-1, x.shape[2])).numpy().reshape(len(x), -1)
        for x in (found.tokens.numpy(), whole, source[:, None, 1:])
    )
    rows = [text.encode() if isinstance(text, str) else text for text in texts]
    return (
        found,
        said,
        [[behind(*row, said) for said in others] for *row, others in zip(rows, before[:, 0], whole, strict=True)],
    )


def behind(text, before, whole):
    """A text as it is, and what the whole has more than what the vocabulary makes of the text."""
    assert whole.startswith(before)
    rest = whole[len(before) :]
    return text + (rest.removeprefix(b" ") if text[-1:].isspace() and text != before else rest)


@pytest.mark.parametrize("name", marked(NAMES))
def test_generate_goes_on_as_decoding_does(name, exports):
    case = exports(name)
    search, max_length = case.task.search, case.task.max_length
    assert specs(case.loaded.signatures["generate"]) == {"text": (tf.string, [None])}
    for texts in (TEXTS, TEXTS[1:2], BYTES):
        found = case.loaded.signatures["generate"](text=batch(texts))
        expected, said, whole = continued(case, texts, search, max_length)
        shape = (len(texts),) if search.num_return == 1 else (len(texts), search.num_return)
        for key, theirs in (("text", said), ("whole", whole)):
            assert found[key].numpy().tolist() == np.array(theirs, object).reshape(shape).tolist()
        ends = (expected.tokens == case.vocabulary.end_id).numpy().any(axis=2)
        assert found["finished"].numpy().tolist() == ends.reshape(shape).tolist()
        np.testing.assert_allclose(found["score"], expected.scores.numpy().reshape(shape), atol=1e-4)
        np.testing.assert_allclose(found["log_prob"], expected.log_probs.numpy().reshape(shape), atol=1e-4)
    assert len(set(found["text"].numpy().ravel().tolist())) > 2
    none = case.loaded.signatures["serving_default"](text=batch([]))
    assert set(none) == {"text", "whole", "score", "log_prob", "finished"} and none["text"].shape[0] == 0


def test_options_of_sampling_are_inputs(exports):
    case = exports("language model, lstm, words")
    scalars = {"max_length": tf.int32, "temperature": tf.float32, "top_p": tf.float32, "seed": tf.int32}
    run = case.loaded.generate_with_options
    assert specs(case.loaded.signatures["generate_with_options"]) == {
        "text": (tf.string, [None]),
        **{name: (dtype, []) for name, dtype in scalars.items()},
    }
    left_out = run(batch(TEXTS))["text"].numpy().tolist()
    assert left_out == case.loaded.signatures["generate"](text=batch(TEXTS))["text"].numpy().tolist()
    search = decoding.Sampling(temperature=2.0, top_p=0.7, seed=11)
    given = {"temperature": tf.constant(2.0), "top_p": tf.constant(0.7), "seed": tf.constant(11)}
    found = run(batch(TEXTS), max_length=tf.constant(5), **given)["text"].numpy()
    assert found.tolist() == continued(case, TEXTS, search, 5)[1][:, 0].tolist() != left_out
    for name, value in (("temperature", 0.0), ("top_p", 0.0), ("max_length", 0)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}` must be at least"):
            run(batch(TEXTS), **{name: tf.constant(value, scalars[name])})


@pytest.mark.parametrize("name", marked(NAMES))
def test_score_is_forced_decoding_and_so_are_the_steps(name, exports):
    case = exports(name)
    texts = ["a horse", "", "dog dog ein", "two men ride a horse", "jumps"]
    found = case.loaded.signatures["score"](text=batch(texts))
    ids = [[*row, case.vocabulary.end_id] for row in case.vocabulary.tokenize(texts).to_list()]
    expected = []
    for row in ids:  # each by itself, without a state
        logits = case.model(np.array([[case.task.begin_id, *row[:-1]]], "int32"))
        expected.append(tf.nn.log_softmax(logits)[0].numpy()[np.arange(len(row)), row])
    assert found["num_tokens"].numpy().tolist() == [len(row) for row in ids]
    np.testing.assert_allclose(found["log_prob"], [row.sum() for row in expected], atol=1e-4)
    for row, values in enumerate(expected):
        np.testing.assert_allclose(found["token_log_probs"][row, : len(values)], values, atol=1e-4)
        assert strings(found["tokens"])[row][: len(values)] == case.vocabulary.pieces(ids[row])

    # From nothing, token by token; and from the first two tokens of each text, which `encode` reads at once.
    step, initial_state, encode = (case.loaded.signatures[key] for key in ("step", "initial_state", "encode"))
    room = {"max_length": tf.constant(12)} if "max_length" in specs(encode) else {}
    assert bool(room) == ("transformer" in name)
    beginnings = [case.vocabulary.detokenize(row[:2]).numpy() for row in ids]
    read = [len(row) for row in case.vocabulary.tokenize(beginnings).to_list()]
    for state, done in (
        (initial_state(batch_size=tf.constant(5), **room), [0] * 5),
        (encode(text=batch(beginnings), **room), read),
    ):
        assert state["tokens"][1].numpy().tolist() == [case.task.begin_id]  # the empty text
        for t in range(4):
            state = step(**state)
            log_probs = state.pop("log_probs").numpy()
            told = [row[done[i] + t] if done[i] + t < len(row) else 0 for i, row in enumerate(ids)]
            for row, token in enumerate(told):
                if token:
                    assert log_probs[row, token] == pytest.approx(expected[row][done[row] + t], abs=1e-4)
            state["tokens"] = tf.constant(told)[:, None]
    assert max(read) == 2


def test_an_unknown_first_token_is_refused(exports):
    with pytest.raises(ValueError, match='`first` must be "start" or "end". Received: \'begin\''):
        tasks.Generation(exports(NAMES[0]).model, exports(NAMES[0]).vocabulary, first="begin")

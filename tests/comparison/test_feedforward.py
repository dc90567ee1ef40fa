"""Feed-forward networks with a fixed input: closed counts, refusals, and blindness to order."""

import itertools

import keras
import numpy as np
import pytest

from keras_seq.comparison import feedforward
from recipes.synthetic import sentiment_sentences


def test_padding_is_counted():
    counted = feedforward.padded_input([5, 100, 45], embedding_dim=8, units=16)
    assert counted.length == 100  # the longest
    assert (counted.texts, counted.positions, counted.wasted) == (3, 300, 95 + 0 + 55)
    assert counted.wasted_share == 150 / 300
    assert counted.wasted_multiply_adds == 150 * 8 * 16
    assert (counted.cut_tokens, counted.cut_texts) == (0, 0)


def test_the_lectures_example():
    """A text of 5 words in an input of 100 has 95 positions of padding."""
    assert feedforward.padded_input([5], 100).wasted == 95


def test_texts_beyond_the_input_are_cut():
    counted = feedforward.padded_input(np.array([30, 12, 10, 0]), 10)
    assert (counted.cut_tokens, counted.cut_texts) == (20 + 2, 2)
    assert (counted.wasted, counted.positions) == (10, 40)


@pytest.mark.parametrize("lengths, length", [([], 3), ([[1]], 3), ([2, -1], 3), ([1], 0), ([0], None)])
def test_impossible_lengths_are_refused(lengths, length):
    with pytest.raises(ValueError, match="Received: "):
        feedforward.padded_input(lengths, length)


def test_the_first_layer_has_the_multiply_adds_that_are_counted():
    model = feedforward.fixed_size_classifier(50, 2, 10, embedding_dim=4, units=6)
    kernel = model.get_layer("first").kernel
    assert np.prod(kernel.shape) == 10 * 4 * 6  # one multiplication by each weight
    assert feedforward.padded_input([0], 10, embedding_dim=4, units=6).wasted_multiply_adds == np.prod(kernel.shape)


def last_token_model(length: int) -> keras.Model:
    """A network with a fixed input whose class is the last token: 0 or 1."""
    model = feedforward.fixed_size_classifier(8, 2, length, embedding_dim=1, units=2)
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    model.get_layer("embedding").set_weights([np.arange(8.0)[:, None]])
    first = np.zeros((length, 2))
    first[-1] = 1.0, 0.0
    model.get_layer("first").set_weights([first, np.array([0.0, 1.5])])
    model.get_layer("logits").set_weights([np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2)])
    return model


def test_a_longer_input_is_refused_and_cutting_it_loses_the_end():
    model = last_token_model(4)
    tokens = np.array([[3, 3, 3, 2], [3, 3, 3, 1], [3, 3, 3, 2], [3, 3, 3, 1]])
    labels = np.array([1, 0, 1, 1])  # the last one is wrong from the beginning
    longer = feedforward.behind_filler(tokens, 8, 7)
    assert longer.tolist()[0] == [7, 7, 7, 7, 3, 3, 3, 2]
    found = feedforward.longer_input(model, tokens, longer, labels)
    assert found["refused"] and "(1, 8)" in found["error"] and "\n" not in found["error"]
    assert (found["length"], found["cut_tokens"], found["cut_share"]) == (8, 16, 0.5)
    # The filler 7 in the last position means class 1 for all.
    assert (found["right_before"], found["right_after"], found["answers_lost"]) == (3, 3, 1)


def test_padding_is_no_token_that_a_cut_loses():
    model, tokens = last_token_model(2), np.array([[3, 1]])
    found = feedforward.longer_input(model, tokens, np.array([[3, 1, 5, 0]]), np.array([0]))
    assert (found["cut_tokens"], found["cut_share"], found["answers_lost"]) == (1, 1 / 3, 0)


def test_a_model_of_any_length_refuses_nothing():
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(8, 2)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(2)(x))
    rows = np.ones((3, 4), "int32")
    found = feedforward.longer_input(model, rows, np.ones((3, 8), "int32"), np.zeros(3, int))
    assert not found["refused"] and "error" not in found and found["answers_lost"] == 0


def test_inputs_that_do_not_match_are_refused():
    model, tokens = last_token_model(4), np.ones((3, 4), int)
    for longer, labels in ((tokens, np.zeros(3)), (np.ones((3, 8)), np.zeros(2)), (np.ones((2, 8)), np.zeros(3))):
        with pytest.raises(ValueError, match="more positions"):
            feedforward.longer_input(model, tokens, longer, labels)
    with pytest.raises(ValueError, match="at least 4"):
        feedforward.behind_filler(tokens, 3, 7)


def test_a_model_that_ignores_the_order_scores_zero():
    pairs = sentiment_sentences.order_pairs(50)
    classes = {text: label for pair in pairs for text, label in zip(pair, (0, 1), strict=True)}
    right, opposite = [(0, 1)] * 50, [(1, 0)] * 50

    def by_order(texts):
        return [classes[text] for text in texts]

    assert feedforward.told_apart(lambda texts: [hash(frozenset(text.split())) for text in texts], pairs) == 0.0
    assert feedforward.told_apart(by_order, pairs) == feedforward.told_apart(by_order, pairs, right) == 1.0
    assert feedforward.told_apart(by_order, pairs, opposite) == 0.0
    assert feedforward.told_apart(by_order, pairs, right[:25] + opposite[:25]) == 0.5
    with pytest.raises(ValueError, match="at least one pair"):
        feedforward.told_apart(lambda texts: [], [])


def test_the_entry_of_a_record():
    entry = feedforward.entry(feedforward.padded_input([1, 4]), {"refused": True}, 50, {"feedforward": 0.0})
    assert entry["wasted_share"] == 3 / 8 and entry["length"] == 4
    assert entry["longer"] == {"refused": True}
    assert entry["order_pairs"] == {"pairs": 50, "labeled": True, "told_apart": {"feedforward": 0.0}}
    assert "longer" not in feedforward.entry(feedforward.padded_input([1, 4]))


class FirstId:
    """Stands for a trained network of three positions: the class is 1 if the first id is 3."""

    def __init__(self, *sizes, **others):
        self.sizes, self.fitted = (*sizes, others), []

    def compile(self, optimizer, loss):
        assert loss.from_logits

    def fit(self, tokens, labels, **options):
        self.fitted.append((tokens.tolist(), labels.tolist(), options["epochs"]))

    def __call__(self, tokens, training=None):
        if tokens.shape[1] != 3:
            raise ValueError("wrong\nlength")
        return np.stack([tokens[:, 0] != 3, tokens[:, 0] == 3], axis=1).astype(float)


def test_a_network_is_measured_on_the_held_out_texts(monkeypatch):
    """Beside a model that takes the number of words for the class."""
    made = []

    def classifier(*sizes, **others):
        made.append(FirstId(*sizes, **others))
        return made[-1]

    monkeypatch.setattr(feedforward, "fixed_size_classifier", classifier)
    encode = lambda texts: [[{"no": 2, "yes": 3}[word] for word in text.split()] for text in texts]  # noqa: E731
    train = feedforward.Texts(["yes no no", "no"], [1, 0])
    valid = feedforward.Texts(["yes", "no yes", "no no yes yes"], [1, 0, 1])
    pairs = [("yes no", "no yes"), ("no no", "yes yes")]
    options = {"embedding_dim": 4, "units": 5, "epochs": 7, "pairs": pairs}
    by_size = {"lstm": lambda texts: [len(text.split()) for text in texts]}
    found = feedforward.measure(train, valid, encode, 9, **options, predictors=by_size)
    assert made[0].sizes == (9, 2, 3, {"embedding_dim": 4, "units": 5})
    assert made[0].fitted == [([[3, 2, 2], [2, 0, 0]], [1, 0], 7)]
    assert (found["texts"], found["length"], found["wasted"], found["cut_tokens"]) == (3, 3, 3, 1)
    assert found["wasted_multiply_adds"] == 3 * 4 * 5
    # The filler in front is no 3, so that all are class 0 when the end is cut.
    assert found["longer"] == {
        **{"length": 6, "refused": True, "error": "wrong length", "cut_tokens": 6, "cut_share": 6 / 15},
        **{"right_before": 2, "right_after": 1, "answers_lost": 1},
    }
    apart = {"lstm": 0.0, "fixed_size": 1.0}
    assert found["order_pairs"] == {"pairs": 2, "labeled": False, "told_apart": apart}
    cut = feedforward.Texts(["yes no no no no", "no"], [1, 0])
    found = feedforward.measure(cut, valid, encode, 9, length=3)
    assert made[1].sizes[2] == 3 and made[1].fitted[0][0] == [[3, 2, 2], [2, 0, 0]] and "order_pairs" not in found


@pytest.mark.long
def test_a_network_with_a_fixed_input_is_trained_and_measured():
    """The class is the first word, so that a network over positions learns it, and a cut behind filler loses it."""
    words = {"filler": 1, "no": 2, "yes": 3, "and": 4}
    rests = [rest for size in range(4) for rest in itertools.product(("no", "yes", "and"), repeat=size)]
    texts = [" ".join((first, *rest)) for rest in rests for first in ("no", "yes")]
    part = feedforward.Texts(texts, [int(each.startswith("yes")) for each in texts])
    pairs = [("no yes and", "yes no and"), ("no and yes", "yes and no")]

    def encode(texts):
        return [[words[word] for word in each.split()] for each in texts]

    def by_bag(texts):
        return [sorted(each.split()).index("yes") % 2 for each in texts]

    sizes = {"embedding_dim": 4, "units": 16, "epochs": 40}
    found = feedforward.measure(
        part, part, encode, 5, **sizes, pairs=pairs, classes=[(0, 1)] * len(pairs), predictors={"feedforward": by_bag}
    )
    lengths = [len(each.split()) for each in texts]
    assert found["length"] == 4 and found["wasted"] == 80 * 4 - sum(lengths)
    assert found["wasted_multiply_adds"] == found["wasted"] * 4 * 16
    longer = found["longer"]
    assert longer["refused"] and longer["length"] == 8 and longer["cut_tokens"] == sum(lengths)
    # All cut texts are filler alone: one class, which is right for half of them.
    assert (longer["right_before"], longer["right_after"], longer["answers_lost"]) == (80, 40, 40)
    assert found["order_pairs"] == {"pairs": 2, "labeled": True, "told_apart": {"feedforward": 0.0, "fixed_size": 1.0}}

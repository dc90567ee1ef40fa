import keras
import numpy as np
import pytest

from keras_seq.losses import FrameCrossentropy, TokenCrossentropy
from keras_seq.metrics import FrameLoss, Perplexity, TokenAccuracy, TokenLoss
from tests.reference import softmax

V = 5
LENGTHS = [[4, 2, 1], [6], [3, 3]]  # three batches, unequal in rows and in width


def batches():
    rng = np.random.default_rng(0)
    for lengths in LENGTHS:
        B, T = len(lengths), max(lengths)
        weights = (np.arange(T) < np.array(lengths)[:, None]).astype("float32")
        yield rng.integers(V, size=(B, T)), 2 * rng.normal(size=(B, T, V)).astype("float32"), weights


def every_token():
    """`(N,)` labels and `(N, V)` logits of all real tokens."""
    labels, logits = zip(*((y[w > 0], x[w > 0]) for y, x, w in batches()), strict=True)
    return np.concatenate(labels), np.concatenate(logits)


def mean_loss():
    labels, logits = every_token()
    return -np.log(softmax(logits)[np.arange(len(labels)), labels]).mean()


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (TokenLoss(), mean_loss()),
        (Perplexity(), np.exp(mean_loss())),
        (TokenAccuracy(), np.mean(every_token()[1].argmax(-1) == every_token()[0])),
    ],
)
def test_unequal_batches_are_one_pass_over_all_tokens(metric, expected):
    for labels, logits, weights in batches():
        metric.update_state(labels, logits, weights)
    assert len(every_token()[0]) == sum(map(sum, LENGTHS))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    metric.reset_state()
    labels, logits, weights = next(batches())
    metric.update_state(labels, logits, weights)
    metric.update_state(labels, logits, 0 * weights)
    again = type(metric)()
    again.update_state(labels, logits, weights)
    assert float(metric.result()) == float(again.result())


@pytest.mark.parametrize(
    ("metric", "empty"), [(FrameLoss, 0.0), (TokenLoss, 0.0), (Perplexity, 1.0), (TokenAccuracy, 0.0)]
)
def test_before_any_token(metric, empty):
    assert float(metric().result()) == empty


def test_even_logits_have_the_perplexity_of_the_vocabulary():
    metric = Perplexity()
    metric.update_state(np.array([[0, 4]]), np.zeros((1, 2, V), "float32"))
    assert float(metric.result()) == pytest.approx(V, rel=1e-6)


def test_frames_of_unequal_batches_are_one_pass_over_all_frames():
    metric, parts = FrameLoss(), []
    for _, logits, weights in batches():
        frames = (logits[..., ::-1] > 0.5).astype("float32")
        metric.update_state(frames, logits, weights)
        parts.append((frames[weights > 0], logits[weights > 0]))
    frames, logits = (np.concatenate(part).astype("float64") for part in zip(*parts, strict=True))
    assert len(frames) == sum(map(sum, LENGTHS))
    expected = np.log1p(np.exp(np.where(frames > 0, -logits, logits))).sum(-1).mean()
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    whole = FrameCrossentropy()(frames[None].astype("float32"), logits[None].astype("float32"))
    assert float(whole) == pytest.approx(expected, rel=1e-5)


def test_accuracy_by_hand():
    logits = np.eye(3, dtype="float32")[np.array([[0, 1, 2], [2, 2, 2]])]  # (2, 3, 3)
    metric = TokenAccuracy()
    metric.update_state(np.array([[0, 1, 0], [2, 0, 0]]), logits, np.array([[1, 1, 1], [1, 1, 0]]))
    assert float(metric.result()) == pytest.approx(3 / 5)


class Batches(keras.utils.PyDataset):
    """`(logits, labels, weights)`, as `evaluate` takes them."""

    def __len__(self):
        return len(LENGTHS)

    def __getitem__(self, i):
        labels, logits, weights = list(batches())[i]
        return logits, labels, weights


def test_as_weighted_metrics_of_a_model():
    """Smoothing is for the loss; the perplexity is that of the data."""
    model = keras.Sequential([keras.Input((None, V)), keras.layers.Dense(V, use_bias=False)])
    model.set_weights([np.eye(V, dtype="float32")])
    model.compile(loss=TokenCrossentropy(0.1), weighted_metrics=[Perplexity(), TokenAccuracy()])
    logs = model.evaluate(Batches(), return_dict=True, verbose=0)
    assert set(logs) == {"loss", "perplexity", "token_accuracy"}
    assert logs["perplexity"] == pytest.approx(np.exp(mean_loss()), rel=1e-5)


@pytest.mark.parametrize("metric", [FrameLoss, TokenLoss, Perplexity, TokenAccuracy])
def test_serialization(metric):
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric(name="mine")))
    assert type(copy) is metric
    assert copy.name == "mine"

import keras
import numpy as np
import pytest

from keras_seq.models import Seq2Seq
from tests.models.cases import END, PAD, SOURCE, TARGET, model
from tests.reference import array


def count(layer):
    return sum(int(np.prod(v.shape)) for v in layer.trainable_weights)


def lstm(d, h):
    return 4 * (d * h + h * h + h)


def test_parameters_of_the_model_of_2014_in_small():
    """Embeddings of both sides, a softmax of its own, and num_layers LSTMs on each side; 384M at full size."""
    d, h, layers, source, target = 4, 6, 3, 11, 13
    model = Seq2Seq(
        source,
        target,
        units=h,
        embedding_dim=d,
        num_layers=layers,
        attention=None,
        bidirectional=False,
        reverse_source=True,
        tie_embeddings=False,
    )
    recurrent = 2 * (lstm(d, h) + (layers - 1) * lstm(h, h))
    assert count(model.encoder) * 2 == recurrent
    # Scores come from vectors as wide as an embedding: h x d + d to get there where the two differ.
    assert model.count_params() == source * d + target * d + d * target + recurrent + h * d + d


def test_no_layer_between_when_units_are_as_wide_as_embeddings():
    model = Seq2Seq(11, units=4, num_layers=1, attention=None, bidirectional=False)
    assert model.count_params() == 11 * 4 + 2 * lstm(4, 4)


def test_a_reversed_source_is_the_reversed_sentence():
    """What the encoder of a reversing model leaves behind is what a plain one's leaves after the reversed sentence."""
    options = {"units": 4, "num_layers": 1, "attention": "dot", "bidirectional": False}
    plain, reversing = Seq2Seq(9, **options), Seq2Seq(9, reverse_source=True, **options)
    reversing.set_weights(plain.get_weights())
    source = np.array([[4, 5, 6, END, PAD]], "int32")
    expected = plain.encode(np.array([[6, 5, 4, END, PAD]], "int32"))
    got = reversing.encode(source)
    for ours, theirs in zip(keras.tree.flatten(got["layers"]), keras.tree.flatten(expected["layers"]), strict=True):
        np.testing.assert_allclose(array(ours), array(theirs), atol=1e-6)
    memory = array(got["memory"]["values"])[0]
    np.testing.assert_allclose(memory[:4], array(expected["memory"]["values"])[0][[2, 1, 0, 3]], atol=1e-6)


def test_zero_bridge_leaves_all_to_the_attention():
    seq2seq = model("gru-additive-reversed-deep")
    assert all((array(x) == 0).all() for x in keras.tree.flatten(seq2seq.encode(SOURCE)["layers"]))


def test_attention_weights_of_many_steps_at_once():
    seq2seq = model("lstm-general")
    _, state = seq2seq.decode(TARGET, seq2seq.encode(SOURCE, attention_weights=True))
    assert state["attention"].shape == (3, 4, 5)


def test_a_shared_vocabulary_is_one_matrix():
    assert model("lstm-none").source_embedding is model("lstm-none").target_embedding
    assert model("gru-additive-reversed-deep").source_embedding is not (
        model("gru-additive-reversed-deep").target_embedding
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Seq2Seq(9, attention="local"), "`attention` must be None or one of .* Received: 'local'"),
        (lambda: Seq2Seq(9, cell="elman"), "`cell` must be one of .* Received: 'elman'"),
        (lambda: Seq2Seq(9, units=4, bridge="wooden"), "Received: 'wooden'"),
        (lambda: model("lstm-none").encode(SOURCE, attention_weights=True), "needs a model with attention"),
    ],
)
def test_errors_name_the_rule_and_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()

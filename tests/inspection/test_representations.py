"""Attention of all heads, hidden states, sentence vectors, their projection and neighbors."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import layers, models
from keras_seq.inspection import layer_calls, plots, representations
from keras_seq.inspection.plots import representations as drawings

TOKENS = np.array([[3, 4, 5, 0], [5, 6, 0, 0], [7, 3, 3, 4]])


def classifier(architecture="lstm", **options):
    return models.classifier(20, 2, architecture=architecture, units=8, **options)


def test_weights_of_all_heads_add_up_to_one_over_real_keys():
    model = models.Transformer(20, 20, units=8, num_heads=2, num_layers=2)
    weights = representations.attention_weights(model, {"source": TOKENS, "target": TOKENS})
    assert sorted(weights) == [
        *(f"decoder_{i}/{kind}_attention" for i in range(2) for kind in ("cross", "self")),
        *(f"encoder_{i}/self_attention" for i in range(2)),
    ]
    for path, each in weights.items():
        assert each.shape == (3, 2, 4, 4)
        np.testing.assert_allclose(each.sum(axis=-1), 1, atol=1e-5)
        if path.startswith("encoder") or "cross" in path:
            assert np.all(each[0, :, :, 3] == 0) and np.all(each[1, :, :, 2:] == 0)  # padding of the source
        else:
            assert np.all(np.triu(each, 1) == 0)  # no later step


def test_weights_are_those_that_the_model_reports():
    model = models.Seq2Seq(20, 20, units=8, attention="additive")
    found = representations.attention_weights(model, {"source": TOKENS, "target": TOKENS})
    state = model.encode(TOKENS, attention_weights=True)
    _, state = model.decode(TOKENS, state)
    np.testing.assert_allclose(found["attention"][:, 0], state["attention"], atol=1e-6)


def test_weights_of_keras_layers_and_of_pooling():
    x = keras.Input((None, 8))
    attended = keras.layers.MultiHeadAttention(2, 4, name="mine")(x, x)
    model = keras.Model(x, layers.AttentionPooling(name="pooling")(attended))
    values = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    before = model(values)
    weights = representations.attention_weights(model, values)
    _, expected = model.get_layer("mine")(values, values, return_attention_scores=True)
    np.testing.assert_allclose(weights["mine"], expected, atol=1e-6)
    assert weights["pooling"].shape == (2, 1, 1, 5)
    np.testing.assert_array_equal(model(values), before)  # the layers are as they were
    assert "call" not in vars(model.get_layer("mine"))


def test_a_model_without_attention():
    with pytest.raises(ValueError, match="No layer of 'classifier' attends"):
        representations.attention_weights(classifier("cnn"), TOKENS)


def test_layers_are_restored_after_an_error():
    model = classifier()
    with pytest.raises(ZeroDivisionError), layer_calls.recorded(model):
        1 / 0  # noqa: B018
    assert all("call" not in vars(layer) for layer in layer_calls.layer_paths(model).values())


def test_hidden_states_of_each_layer_with_their_mask():
    model = classifier(bidirectional=False, num_layers=2)
    states = representations.hidden_states(model, TOKENS)
    embedded = model.get_layer("embedding")(TOKENS)
    np.testing.assert_allclose(states["embedding"].values, embedded)
    first = model.get_layer("encoder").forward_layers[0](embedded)[0]
    np.testing.assert_allclose(states["encoder/forward_0"].values, first, atol=1e-6)
    for path in ("embedding", "encoder/forward_0", "encoder/forward_1", "encoder", "pooling/hidden"):
        np.testing.assert_array_equal(states[path].mask, TOKENS != 0)


def test_vectors_of_a_classifier_are_what_its_scores_are_made_of():
    model = classifier()
    vectors = representations.sentence_vectors(model, TOKENS)
    np.testing.assert_allclose(model.get_layer("logits")(vectors), model(TOKENS), atol=1e-6)


@pytest.mark.parametrize("cell, states", [("gru", 1), ("lstm", 2)])
def test_vectors_of_a_translator_are_the_final_states_of_its_encoder(cell, states):
    model = models.Seq2Seq(20, 20, units=8, cell=cell, num_layers=3, attention=None)
    vectors = representations.sentence_vectors(model, TOKENS)
    assert vectors.shape == (3, 3 * states * 8)
    wider = representations.sentence_vectors(model, np.pad(TOKENS, ((0, 0), (0, 2))))
    np.testing.assert_allclose(wider, vectors, atol=1e-6)


def test_vectors_of_a_transformer_and_of_a_layer_do_not_depend_on_padding():
    model = models.Transformer(20, 20, units=8, num_heads=2, num_layers=1)
    tagger = models.tagger(20, 3, units=8)
    wider = np.pad(TOKENS, ((0, 0), (0, 3)))
    for each, options in [(model, {}), (tagger, {"layer": "encoder"})]:
        vectors = representations.sentence_vectors(each, TOKENS, **options)
        assert vectors.shape == (3, 8)
        np.testing.assert_allclose(representations.sentence_vectors(each, wider, **options), vectors, atol=1e-5)
    alone = ops.convert_to_numpy(tagger.get_layer("encoder")(tagger.get_layer("embedding")(TOKENS[:1, :3]))[0])
    np.testing.assert_allclose(
        representations.sentence_vectors(tagger, TOKENS, "encoder")[0], alone[0].mean(axis=0), atol=1e-5
    )


def test_a_model_without_a_vector_for_each_sequence():
    with pytest.raises(ValueError, match="must be"):
        representations.sentence_vectors(models.tagger(20, 3, units=8), TOKENS)
    with pytest.raises(ValueError, match="Received: 'nothing'"):
        representations.sentence_vectors(classifier(), TOKENS, "nothing")


def test_projection_keeps_distances_in_a_plane():
    plane = np.random.default_rng(0).normal(size=(20, 2)) * [3, 1]
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 2)))[0]
    projection = representations.project(plane @ turned.T + 5)

    def distances(x):
        return np.linalg.norm(x[:, None] - x[None], axis=-1)

    np.testing.assert_allclose(distances(projection.points), distances(plane), atol=1e-9)
    np.testing.assert_allclose(projection.variance.sum(), 1)
    sequences = (plane @ turned.T).reshape(4, 5, 6)
    mask = np.arange(5) < np.array([[5], [3], [4], [5]])
    points = representations.project(sequences, mask).points
    np.testing.assert_array_equal(np.isnan(points[..., 0]), ~mask)
    with pytest.raises(ValueError, match="Received: 2 of 6"):
        representations.project(sequences[0, :2])


def test_nearest_by_angle_not_by_length():
    vectors = np.array([[1.0, 0], [10, 1], [0, 1], [-1, 0]])
    indices, similarities = representations.nearest(vectors, np.array([[5.0, 0]]), 3)
    assert indices.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(similarities, [[1, 10 / np.sqrt(101), 0]], atol=1e-9)
    shown = representations.neighbors_table(["east", "almost east", "north", "west"], vectors, [0], 2)
    assert shown.splitlines() == ["east", "  0.995  almost east", "  0.000  north"]


def test_plots_are_drawn_and_refuse_other_shapes(tmp_path):
    weights = np.full((3, 4, 5), 0.2)
    assert plots.attention_heads(weights, list("abcde"), list("wxyz"), tmp_path / "heads.png").exists()
    points = np.random.default_rng(0).normal(size=(2, 4, 2))
    points[1, 3] = np.nan
    labels = [list("abcd"), list("xyz")]
    assert plots.trajectories(
        points, tmp_path / "t.png", labels=labels, names=["$a", "b"], variance=[0.5, 0.2]
    ).exists()
    assert plots.sentence_map(points[0], tmp_path / "m.png", texts=list("abcd"), groups=list("uuvv")).exists()
    with pytest.raises(ValueError, match=r"shape \(3, 4, 5\), 6 target"):
        plots.attention_heads(weights, list("abcde"), list("uvwxyz"), tmp_path / "no.png")
    with pytest.raises(ValueError, match="N from 1 to 8"):
        plots.trajectories(np.zeros((9, 2, 2)), tmp_path / "no.png")
    with pytest.raises(ValueError, match="9 different"):
        plots.sentence_map(np.zeros((9, 2)), tmp_path / "no.png", groups=list("abcdefghi"))


def test_titles_and_legends_are_drawn_where_there_are_names(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(drawings, "save", lambda figure, path: drawn.append(figure))
    points = np.full((2, 3, 2), np.nan)
    points[1] = [[0, 0], [1, 1], [2, 0]]
    plots.attention_heads(np.full((1, 1, 2), 0.5), ["a", "b"], ["c"], tmp_path / "h.png", title="$t")
    plots.attention_heads(np.full((1, 1, 2), 0.5), ["a", "b"], ["c"], tmp_path / "h.png")
    plots.trajectories(points, tmp_path / "t.png", names=["none", "some"])
    plots.trajectories(points, tmp_path / "t.png")
    plots.sentence_map(points[1], tmp_path / "m.png", groups=["u", "v", "u"])
    plots.sentence_map(points[1], tmp_path / "m.png")
    assert [figure.get_suptitle() for figure in drawn[:2]] == [r"\$t", ""]
    legends = [figure.axes[0].get_legend() for figure in drawn[2:]]
    names = [legend and [text.get_text() for text in legend.get_texts()] for legend in legends]
    assert names == [["some"], None, ["u", "v"], None]  # a row without a real step has no line
    assert len(drawn[2].axes[0].lines) == 2  # the steps, and the ring

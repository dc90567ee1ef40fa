import keras
import numpy as np
import pytest

from keras_seq import layers
from tests.cells import LeakyCell
from tests.checks import check_layer
from tests.reference import array, arrays, backend_cases, like, program, quick, spread, tensorflow_only

X = spread((2, 5, 8))
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], "bool")


def backbone(architecture, **options):
    return layers.sequence_backbone(architecture, 8, num_heads=2, **options)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    "architecture", backend_cases([*layers.ARCHITECTURES, LeakyCell], on_jax=["mingru", "transformer"])
)
def test_what_comes_later_is_seen_by_bidirectional_bodies_alone(architecture, bidirectional):
    layer = backbone(architecture, bidirectional=bidirectional)
    layer(like(X), mask=like(MASK))
    before = array(program(layer)(X, mask=MASK)[0])
    later = X.copy()
    later[:, 2, 0] += 1  # not all features alike, which a normalization would take away
    after = array(program(layer)(later, mask=MASK)[0])
    changed = np.abs(before - after).max(-1)  # (B, T)
    assert (changed[:, 2] > 1e-5).all()
    assert (changed[:, :2] > 1e-6).all() == bidirectional == (changed[:, :2] > 1e-6).any()

    padding = X.copy()
    padding[0, 3:] += 1
    np.testing.assert_allclose(array(program(layer)(padding, mask=MASK)[0])[MASK], before[MASK], atol=1e-6)
    np.testing.assert_allclose(array(program(layer)(X[:1, :3])[0]), before[:1, :3], atol=1e-5)


def test_the_options_arrive():
    stack = backbone("gru", num_layers=3, dropout=0.1, architecture_options={"layer_norm": True}, name="mine")
    assert (stack.cell, stack.num_layers, stack.dropout, stack.layer_norm, stack.name) == ("gru", 3, 0.1, True, "mine")
    stack = backbone(
        "transformer",
        num_layers=3,
        architecture_options={"positions": "alibi", "layer_options": {"activation": "swiglu"}},
    )
    assert (stack.num_layers, stack.positions, stack.bidirectional) == (3, "alibi", False)
    with pytest.raises(ValueError, match="`cell` must be one of .* Received: 'cnn'"):
        backbone("cnn")


@pytest.mark.parametrize(
    "positions",
    quick(["sinusoidal", "learned", "rotary", "alibi"], few=["learned"]),
)
def test_a_bidirectional_transformer_keeps_what_keras_promises(positions):
    check_layer(
        lambda: layers.TransformerStack(8, 2, 1, intermediate_dim=6, positions=positions, bidirectional=True),
        {"x": X, "mask": MASK},
        graph=positions == "learned",
    )


def test_a_bidirectional_transformer_does_not_go_on():
    stack = backbone("transformer", bidirectional=True)
    with pytest.raises(ValueError, match="`bidirectional=True`.* Received: an initial_state"):
        stack(X, initial_state=stack.get_initial_state(2, 5))


@tensorflow_only("what is in the file is no backend's")
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("architecture", ["lstm", "transformer"])
def test_a_functional_model_comes_back_from_its_file_without_a_warning(architecture, tmp_path):
    x = keras.Input((None, 8))
    y, _ = backbone(architecture, bidirectional=True)(x)
    model = keras.Model(x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(*arrays([loaded(X), model(X)]), atol=1e-6)

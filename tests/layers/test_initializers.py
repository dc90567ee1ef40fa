"""Chrono initialization: times of memory between two steps and the longest, in the place of each cell's gates."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers import CELLS, ChronoBias, RecurrentStack, chrono_options


def parts_of(cell, units, max_steps, shape=None, seed=1):
    gates = {"lstm": 4, "gru": 3, "mingru": 2, "minlstm": 3}[cell]
    return np.split(ops.convert_to_numpy(ChronoBias(cell, max_steps, seed)(shape or (gates * units,))), gates, -1)


@pytest.mark.parametrize(("cell", "keeps", "writes"), [("lstm", 1, 0), ("gru", 0, None), ("minlstm", 0, 1)])
def test_the_gates_forget_after_the_drawn_times(cell, keeps, writes):
    parts = parts_of(cell, 4_000, 100)
    keep = 1 / (1 + np.exp(-parts[keeps].astype("float64")))
    times = 1 / (1 - keep)  # steps in which a state falls to 1/e, about
    assert times.min() >= 2 - 1e-3 and times.max() <= 100 + 1e-2
    assert times.mean() == pytest.approx(51, rel=0.03)  # uniform in [2, 100]
    if writes is not None:
        np.testing.assert_array_equal(parts[writes], -parts[keeps])
    for index, part in enumerate(parts):
        assert index in (keeps, writes) or not part.any()


def test_the_gate_of_mingru_writes_and_the_gru_of_keras_has_a_second_bias():
    z, candidate = parts_of("mingru", 50, 30)
    kept = 1 - 1 / (1 + np.exp(-z))
    assert (1 / (1 - kept) >= 2 - 1e-3).all() and (1 / (1 - kept) <= 30.01).all() and not candidate.any()
    bias = np.concatenate(parts_of("gru", 50, 30, (2, 150)), axis=-1)
    np.testing.assert_array_equal(bias[0], np.concatenate(parts_of("gru", 50, 30)))
    assert not bias[1].any()


@pytest.mark.parametrize("cell", ["lstm", "gru", "mingru", "minlstm"])
def test_a_state_decays_by_the_drawn_times(cell):
    options = chrono_options(cell, 500, seed=2)
    if cell in ("lstm", "gru"):
        options["recurrent_initializer"] = "zeros"  # so that the gates are those of the bias alone
    stack = RecurrentStack(cell, 8, cell_options=options)
    pulse = np.zeros((1, 61, 3), "float32")
    pulse[:, 0] = 3.0
    after = [ops.convert_to_numpy(stack(pulse[:, :steps])[1][0][-1])[0] for steps in (1, 61)]
    keep = 1 / (1 + np.exp(-parts_of(cell, 8, 500, seed=2)[{"lstm": 1}.get(cell, 0)]))
    keep = 1 - keep if cell == "mingru" else keep
    np.testing.assert_allclose(after[1], after[0] * keep**60, rtol=1e-3)


@pytest.mark.parametrize("cell", ["lstm", "gru", "mingru", "minlstm"])
def test_a_stack_with_it_is_saved(cell, tmp_path):
    x = keras.Input((None, 3))
    stack = RecurrentStack(cell, 8, return_state=False, cell_options=chrono_options(cell, 500, seed=3))
    model = keras.Model(x, stack(x))
    steps = np.ones((2, 5, 3), "float32")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(*(ops.convert_to_numpy(one(steps)) for one in (again, model)))
    (copy,) = [layer for layer in again.layers if isinstance(layer, RecurrentStack)]
    fresh = keras.initializers.get(copy.cell_options["bias_initializer"])
    assert (fresh.cell, fresh.max_steps, fresh.seed) == (cell, 500, 3)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="Received: 'rnn'"):
        ChronoBias("rnn", 10)
    with pytest.raises(ValueError, match="above 2. Received: 2"):
        ChronoBias("gru", 2)
    with pytest.raises(ValueError, match=r"\(4 \* units,\). Received: \(3,\).*unit_forget_bias=False"):
        ChronoBias("lstm", 10)((3,))
    assert {"lstm", "gru", "mingru", "minlstm"} < set(CELLS)

import keras
import numpy as np
import pytest

from keras_seq import layers, models
from keras_seq.inspection import parameters


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("layer", "options", "count"),
    [
        (keras.layers.SimpleRNN, {}, parameters.simple_rnn),
        (keras.layers.LSTM, {}, parameters.lstm),
        (layers.LSTM, {}, parameters.lstm),
        (keras.layers.GRU, {}, parameters.gru),
        (keras.layers.GRU, {"reset_after": False}, lambda d, h: parameters.gru(d, h, reset_after=False)),
        (keras.layers.Dense, {}, parameters.dense),
    ],
)
def test_closed_formulas_are_what_the_layers_have(layer, options, count, bias):
    d, h = 5, 7
    built = layer(h, use_bias=bias, **options)
    built.build((None, 3, d))
    (row,) = parameters.table(keras.Sequential([keras.Input((3, d)), built]))
    assert row.parameters == built.count_params()
    assert (count(d, h) == built.count_params()) == bias
    # A formula stands there only where it is the layer's own.
    assert row.formula.endswith("d=5 h=7") == bias


def test_the_paper_of_2014():
    """Sutskever et al. 2014, section 3.4: 384M parameters, of which 64M recurrent."""
    recurrent = 2 * 4 * parameters.lstm(1000, 1000)
    total = parameters.embedding(160_000, 1000) + parameters.embedding(80_000, 1000) + recurrent + 80_000 * 1000
    assert round(recurrent / 1e6) == 64
    assert round(total / 1e6) == 384


MODELS = {
    "recurrent": lambda: models.Seq2Seq(11, 13, units=4, num_layers=2, attention="additive", layer_norm=True),
    "tied": lambda: models.Seq2Seq(11, units=4, cell="gru", num_layers=1),
    "transformer": lambda: models.Transformer(11, units=4, num_heads=2, num_layers=1),
    "functional": lambda: keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(2, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(2, use_bias=False)]),
        ]
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_rows_add_up_to_the_model(name):
    model = MODELS[name]()
    rows = parameters.table(model)
    assert sum(row.parameters for row in rows) == model.count_params() == sum(np.prod(w.shape) for w in model.weights)
    assert len({row.path for row in rows}) == len(rows)


def test_a_shared_layer_counts_once():
    shared, x = keras.layers.Dense(3), keras.Input((3,))
    model = keras.Model(x, shared(shared(x)))
    assert [row.parameters for row in parameters.table(model)] == [12]


def test_weights_of_a_layer_that_has_layers():
    @keras.saving.register_keras_serializable("tests")
    class Mixed(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="mixed")
            self.inner = keras.layers.Dense(2, name="inner")

        def build(self, shape):
            self.inner.build(shape)
            self.scale = self.add_weight(shape=(3, 2), name="scale")

        def call(self, x):
            return self.inner(x) * 2

    rows = parameters.table(keras.Sequential([keras.Input((4,)), Mixed()]))
    assert [(row.path, row.parameters, row.formula) for row in rows] == [
        ("mixed/inner", 10, "dh + h, d=4 h=2"),
        ("mixed", 6, "3x2"),
    ]


def test_the_table_as_text():
    lines = parameters.shown(parameters.table(MODELS["tied"]())).splitlines()
    assert lines[0].split() == ["layer", "type", "parameters", "formula"]
    assert any(line.split()[:3] == ["decoder_bottom/forward_0", "GRU", "120"] for line in lines)
    assert lines[-1].split() == ["total", f"{MODELS['tied']().count_params():,}"]


def test_a_model_without_weights_yet_is_refused():
    with pytest.raises(ValueError, match="must be built.*Received: 'later', not built"):
        parameters.table(keras.Sequential([keras.layers.Dense(2)], name="later"))

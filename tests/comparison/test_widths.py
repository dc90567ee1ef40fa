"""Widths at which architectures have equally many parameters, and the closed formulas of their parameters."""

import re

import keras
import pytest

from keras_seq.architectures import ARCHITECTURES
from keras_seq.comparison.contender import backbone, input_width, parameters_of
from keras_seq.comparison.formulas import FACTS, facts, formula
from keras_seq.comparison.widths import Count, counted, equal_widths
from keras_seq.inspection import parameters
from keras_seq.models import classifier

# As functions of the width, for inputs as wide as the layer.
COUNTS = {
    "rnn": Count(2, 1),
    "gru": Count(6, 6),
    "lstm": Count(8, 4),
    "mingru": Count(2, 2),
    "transformer": Count(12, 15, step=8),
}


def test_two_models_give_the_count_of_any_width():
    def lstm(units):  # words of width `units` beside spellings of width 30
        return parameters.lstm(units + 30, units), units + 30

    count, width = counted(lstm, step=2)
    assert [count(units) for units in (2, 37, 400)] == [lstm(units)[0] for units in (2, 37, 400)]
    assert [width(units) for units in (2, 400)] == [32, 430]
    with pytest.raises(ValueError, match="no parameters"):
        counted(lambda units: (0, units))


@pytest.mark.parametrize("target", [10, 99, 5_000, 123_456, 10**7])
@pytest.mark.parametrize("name", COUNTS)
def test_the_width_is_the_closest_valid_one(name, target):
    count = COUNTS[name]
    units = count.width(target)
    assert units % count.step == 0 and units >= count.step
    distance = abs(count(units) / target - 1)
    for other in (units - count.step, units + count.step):
        if other > 0:
            assert max(count(other) / target, target / count(other)) >= max(
                count(units) / target, target / count(units)
            )
    assert distance < 1 or units == count.step


@pytest.mark.parametrize("target", [20_000, 74_000, 98_816, 1_000_000])
def test_equal_parameters_to_five_percent(target):
    widths = equal_widths(COUNTS, target)
    assert target / 1.25 <= widths.target <= 1.25 * target
    for name, units in widths.units.items():
        assert COUNTS[name](units) == pytest.approx(widths.target, rel=0.0501)
    assert equal_widths({"rnn": COUNTS["rnn"]}, target).target == target  # which needs no move


def test_a_target_that_no_width_has():
    with pytest.raises(ValueError, match=r"No width of transformer has 500 parameters .* up to 5%: 8 units have 888"):
        equal_widths(COUNTS, 500, exactly=True)
    with pytest.raises(ValueError, match=r"Take more `parameters`, or a larger `tolerance`"):
        equal_widths(COUNTS, 500)
    with pytest.raises(
        ValueError, match=r"40 units have 19,800, .* away. Take `parameters` of ([\d,]+), which"
    ) as error:
        equal_widths(COUNTS, 22_000, exactly=True)
    advice = int(re.search("of ([\\d,]+), which", str(error.value))[1].replace(",", ""))
    equal_widths(COUNTS, advice, tolerance=0.051, exactly=True)
    assert equal_widths(COUNTS, 500, tolerance=0.9, exactly=True).target == 500


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", [*ARCHITECTURES, "feedforward"])
def test_the_formula_is_the_count_of_the_backbone(name, bidirectional):
    how = {"architecture": name, "units": 24, "num_layers": 2, "num_heads": 2, "bidirectional": bidirectional}
    model = classifier(30, 2, embedding_dim=10, **how)
    layers = backbone(model, name)
    text, value = formula(name, input_width(layers), 24, 2, bidirectional)
    assert parameters_of(layers) == value and input_width(layers) == 10
    assert text.startswith("2 x (") == (bidirectional and name not in ("transformer", "feedforward"))
    # Beside it there are only the embeddings, the pooling and the output.
    others = 30 * 10 + 24 * 2 + 2 + sum(layer.count_params() for layer in model.layers if layer.name == "pooling")
    assert model.count_params() == value + others


def test_facts_of_the_literature():
    assert set(FACTS) == {*ARCHITECTURES, "feedforward", "cnn"}
    assert (facts("lstm").gates, facts("lstm").states, facts("gru").gates, facts("gru").states) == (3, 2, 2, 1)
    assert facts("mine").label == "mine" and formula("mine", 3, 4) is None and formula("cnn", 3, 4) is None


def test_the_backbone_of_an_unknown_model_is_all_but_embeddings_and_the_last_layer():
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Dense(5, name="any")(keras.layers.Embedding(7, 3)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(2)(x))
    assert parameters_of(backbone(model, "mine")) == 3 * 5 + 5

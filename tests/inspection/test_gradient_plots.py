"""Plots of gradients: each draws the result of its measurement, and its title says the finding."""

import keras
import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

if keras.backend.backend() != "tensorflow":
    pytest.skip("gradients are measured with TensorFlow", allow_module_level=True)

from keras_seq.inspection import gradients, plots


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures, save = [], Figure.savefig

    def saved(figure, *args, **kwargs):
        figures.append(figure)
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", saved)
    return figures


def norms(factor, T=20, D=4):
    rows = np.tile(factor ** np.arange(T - 1, -1, -1.0), (2, 1))
    back = np.tile(np.arange(T - 1, -1, -1), (2, 1))
    return gradients.GradientNorms(rows, np.outer(rows[0], np.arange(1, D + 1)), back)


def test_the_curve_of_each_layer_is_drawn_with_its_factor(drawn, tmp_path):
    measured = {"a/h": norms(0.5), "b$/h": norms(1.1), "none": norms(0.0)}
    measured["none"].rows[:] = 0
    path = plots.gradient_curve(measured, tmp_path / "curve.png")
    assert matplotlib.image.imread(path).ndim == 3
    (axes,) = drawn[0].axes
    assert axes.get_title() == "smallest norm per step back: × 0.500, a/h\nlargest: × 1.100, b\\$/h"
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "steps back from the loss"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 0.5 ** np.arange(20.0))
    plots.gradient_curve({"a": norms(0.5)}, tmp_path / "one.png")
    assert drawn[1].axes[0].get_title() == "a: norm × 0.500 per step back"
    plots.gradient_curve({f"layer {n}": norms(0.5, T=1) for n in range(9)}, tmp_path / "many.png")
    assert drawn[2].axes[0].get_title() == "gradients of a single step"
    assert len(drawn[2].legends[0].get_texts()) == 9  # beside the axes
    with pytest.raises(ValueError, match="`norms` must have a norm above zero. Received: \\['none'\\]"):
        plots.gradient_curve({"none": measured["none"]}, tmp_path / "none.png")


def test_heat_maps_have_a_row_for_each_layer_or_unit(drawn, tmp_path):
    long, short = norms(0.5), norms(0.1, T=5)
    long.rows[:, 3] = np.nan  # a masked step
    plots.gradient_heat_map({"long": long, "short": short}, tmp_path / "map.png")
    axes = drawn[0].axes[0]
    image = axes.images[0].get_array()
    assert (
        image.shape == (2, 20)
        and axes.get_title() == "largest norm of dL/dh: 1.0e+00 (long, step 19)\nsmallest: 1.9e-06 (long, step 0)"
    )
    np.testing.assert_allclose(image[0, 4], 15 * np.log10(0.5))
    assert np.ma.getmaskarray(image)[0].nonzero()[0].tolist() == [3]
    assert np.ma.getmaskarray(image)[1].sum() == 15
    plots.unit_gradients(norms(0.5), tmp_path / "units.png", "gru")
    axes = drawn[1].axes[0]
    assert axes.images[0].get_array().shape == (4, 20) and axes.get_ylabel() == "unit"
    # The squares are 1, 4, 9 and 16 of 30.
    assert axes.get_title() == "gru: 1 of 4 units have half of the squared gradient"
    with pytest.raises(ValueError, match="`norms` must have a norm above zero"):
        plots.gradient_heat_map({}, tmp_path / "none.png")


def test_singular_values_are_drawn_between_the_extremes(drawn, tmp_path):
    values = np.tile([1.2, 0.5, 0.1], (2, 6, 1))
    values[:, :2, 0] = 0.9
    values[1, 4:] = np.nan
    plots.singular_values(values, tmp_path / "values.png", "rnn")
    (axes,) = drawn[0].axes
    assert axes.get_title() == "rnn: the largest singular value is above 1 at 60% of the steps"  # 6 of 10
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.9, 0.9, 1.2, 1.2, 1.2, 1.2])
    assert axes.get_yscale() == "linear"
    plots.singular_values(values / [1, 1, 1000], tmp_path / "values.png")
    assert drawn[1].axes[0].get_yscale() == "log"
    for wrong in (np.ones((2, 3)), np.full((1, 2, 3), np.nan)):
        with pytest.raises(ValueError, match=r"`values` must be numbers \(B, T, N\)"):
            plots.singular_values(wrong, tmp_path / "none.png")


def test_the_bars_of_a_gate_fill_the_axis(drawn, tmp_path):
    gates = [
        gradients.GateSaturation("lstm", "i", 0.25, 0.5, 0.6),
        gradients.GateSaturation("lstm", "f", 0.0, 0.1, 0.6),
    ]
    plots.gate_saturation(gates, tmp_path / "gates.png")
    (axes,) = drawn[0].axes
    assert axes.get_title() == "most saturated: lstm i, 75% of its activations"
    widths = np.array([patch.get_width() for patch in axes.patches]).reshape(3, 2)
    np.testing.assert_allclose(widths, [[0.25, 0], [0.25, 0.9], [0.5, 0.1]])
    with pytest.raises(ValueError, match="`gates` must have at least one gate"):
        plots.gate_saturation([], tmp_path / "none.png")


def test_the_title_of_truncation_names_the_window(drawn, tmp_path):
    def biases(*errors):
        return [gradients.TruncationBias(2 << n, error, 1 - error, 1.0) for n, error in enumerate(errors)]

    measured = {"gru": biases(0.5, 0.09, 0.0), "lstm": biases(0.9, 0.8, 0.7)}
    plots.truncation_bias(measured, tmp_path / "bias.png")
    assert drawn[0].get_suptitle() == "window for an error of at most 10%: gru: 4, lstm: none"
    left, right = drawn[0].axes
    assert left.lines[1].get_xdata().tolist() == [2, 4, 8] and right.lines[0].get_ydata()[1] == 0.91
    with pytest.raises(ValueError, match="`biases` must have at least one window for each name"):
        plots.truncation_bias({"gru": []}, tmp_path / "none.png")

"""Plots of architectures side by side: their properties, read from the figures that they save."""

import re
import sys

import numpy as np
import pytest

from keras_seq.inspection import plots
from keras_seq.inspection.plots import comparison


@pytest.fixture
def figures(monkeypatch):
    """The figures, in order. None is drawn, unless the test asks for a file."""
    saved = []
    monkeypatch.setattr(comparison, "save", lambda figure, path: saved.append(figure) or path)
    return saved


LABELS = {"gru": "GRU $x$", "rnn": "RNN"}


def test_scores_have_a_ring_for_each_seed_and_a_bar_of_one_deviation(figures):
    scores = {"gru": [0.6, 0.8], "rnn": [0.5]}
    options = {"title": "GRU is best", "label": "accuracy, %", "labels": LABELS, "percent": True}
    plots.score_ranges(scores, "x.png", **options)
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"GRU \$x\$", "RNN"]
    assert axes.yaxis_inverted() or axes.get_ylim()[0] > axes.get_ylim()[1]  # the first at the top
    bar, rings, mean = axes.lines[:3]
    spread = np.sqrt(2 * 0.1**2)  # of two values, with one degree of freedom
    np.testing.assert_allclose(bar.get_xdata(), [0.7 - spread, 0.7 + spread])
    assert list(rings.get_xdata()) == [0.6, 0.8] and mean.get_xdata()[0] == pytest.approx(0.7)
    assert [text.get_text() for text in axes.texts] == ["70.0%", "50.0%"]
    assert axes.get_xlabel() == "accuracy, %" and figures[0].get_suptitle() == "GRU is best"
    assert axes.xaxis.get_major_formatter()(0.725, 0) == "72.5%"
    alone = axes.lines[3].get_xdata()
    assert alone[0] == alone[1] == 0.5


def test_an_architecture_has_one_color_and_one_marker_in_all_plots(figures):
    x, options = [1, 2], {"title": "t", "x_label": "x", "y_label": "y"}
    names = list(comparison._STYLES)
    plots.compared_curves({name: (x, [i, i]) for i, name in enumerate(names)}, "x.png", **options)
    lines = figures[0].axes[0].lines
    looks = [(line.get_color(), line.get_marker()) for line in lines]
    assert len(set(looks)) == len({marker for _, marker in looks}) == len({color for color, _ in looks}) == len(names)
    values = {name: 1.0 for name in names}
    plots.compared_bars(values, "x.png", title="t", label="s", shown=dict.fromkeys(names, "1"))
    from matplotlib.colors import to_hex

    colors = [to_hex(bar.get_facecolor()) for bar in figures[1].axes[0].patches]
    assert colors == [color.lower() for color, _ in looks]


def test_other_models_have_different_looks(figures):
    names = ["first", "lstm", "second"]
    plots.compared_curves({name: ([1, 2], [1, 2]) for name in names}, "x.png", title="t", x_label="x", y_label="y")
    looks = {line.get_label(): (line.get_color(), line.get_marker()) for line in figures[0].axes[0].lines}
    assert looks["lstm"] == comparison._STYLES["lstm"] and len(set(looks.values())) == 3


def test_curves(figures):
    curves = {"gru": ([16, 512], [0.4, 1.4]), "rnn": ([16, 32, 512], [0.1, np.nan, 0.1])}
    options = {"title": "t", "x_label": "length in tokens", "y_label": "time, ms", "labels": LABELS}
    plots.compared_curves(curves, "x.png", **options, log_x=True, from_zero=True, ticks={16: "16", 512: "512"})
    (axes,) = figures[0].axes
    assert axes.get_xscale() == "log" and axes.get_yscale() == "linear" and axes.get_ylim()[0] == 0
    assert [label.get_text() for label in axes.get_xticklabels()] == ["16", "512"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("length in tokens", "time, ms")
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [r"GRU \$x\$", "RNN"]
    plots.compared_curves({"gru": ([1, 2], [1.0, 31.0])}, "x.png", **options, from_zero=True)
    assert figures[1].axes[0].get_yscale() == "log"  # a factor of more than 30
    assert figures[1].axes[0].xaxis.get_major_formatter()(400_000, 0) == "400k"
    assert figures[1].axes[0].xaxis.get_major_formatter()(1_500_000, 0) == "1.5M"


def test_bars_begin_at_zero(figures):
    options = {"title": "t", "label": "time, s", "shown": {"gru": "1 s", "rnn": "3 s"}}
    plots.compared_bars({"gru": 1.0, "rnn": 3.0}, "x.png", **options)
    (axes,) = figures[0].axes
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 1.0), (0, 3.0)]
    assert axes.get_xlim()[0] == 0 and axes.get_xlim()[1] > 3
    assert [text.get_text() for text in axes.texts] == ["1 s", "3 s"]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_best_cell_of_a_grid_is_the_brightest(figures, mode):
    scores = [[0.5, 0.9], [0.7, np.nan]]
    shown = [["50%", "90%"], ["70%", "diverged"]]
    options = {"rows": LABELS, "columns": ["0.001", "0.01"], "column_label": "learning rate", "score_label": "accuracy"}
    plots.score_grid(scores, "x.png", title="t", shown=shown, mode=mode, percent=True, **options)
    axes, bar = figures[0].axes
    (mesh,) = axes.collections
    brightness = mesh.cmap(mesh.norm(np.array([0.5, 0.7, 0.9])))[:, :3].mean(axis=1)
    assert (np.diff(brightness) > 0).all() if mode == "max" else (np.diff(brightness) < 0).all()
    assert [text.get_text() for text in axes.texts] == sum(shown, [])
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"GRU \$x\$", "RNN"] and axes.yaxis_inverted()
    assert [patch.get_hatch() for patch in axes.patches] == ["////"]
    assert axes.patches[0].get_xy() == (1, 1)
    assert bar.get_ylabel() == "accuracy" and bar.yaxis.get_major_formatter()(0.7, 0) == "70%"
    # White letters on dark cells, dark ones on bright cells.
    assert {text.get_text(): text.get_color() for text in axes.texts}["90%"] == (
        "#111111" if mode == "max" else "#ffffff"
    )


def test_a_grid_of_equal_scores_has_no_scale(figures):
    options = {"rows": {"gru": "GRU"}, "columns": ["0.1"], "column_label": "rate", "score_label": "loss"}
    plots.score_grid([[1.0]], "x.png", title="t", shown=[["1"]], **options)
    plots.score_grid([[np.nan]], "x.png", title="t", shown=[["failed"]], **options)
    assert [len(figure.axes) for figure in figures] == [1, 1]


def test_an_svg_has_letters_no_background_and_repeats(tmp_path):
    options = {"title": "A finding that is so long that it needs a second line", "label": "s", "shown": {"gru": "1 s"}}
    files = [plots.compared_bars({"gru": 1.0}, tmp_path / f"{i}" / "x.svg", **options) for i in range(2)]
    first, second = (re.sub(r"<dc:date>.*?</dc:date>", "", path.read_text("utf-8")) for path in files)
    assert first == second
    assert ">1 s</text>" in first and comparison.INK in first
    assert "fill: #ffffff" not in first
    assert plots.compared_bars({"gru": 1.0}, tmp_path / "x.png", **options).read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'^Plots need matplotlib: pip install "keras-seq\[recipes\]"$'):
        plots.compared_bars({"gru": 1.0}, tmp_path / "x.png", title="t", label="s", shown={"gru": "1"})


def test_impossible_values_are_refused(tmp_path):
    path, titles = tmp_path / "x.png", {"title": "t", "label": "s"}
    for scores in ({}, {"gru": []}):
        with pytest.raises(ValueError, match="at least one score"):
            plots.score_ranges(scores, path, **titles)
    for curves in ({}, {"gru": ([1], [1, 2])}, {"gru": ([], [])}):
        with pytest.raises(ValueError, match="as many x as y"):
            plots.compared_curves(curves, path, title="t", x_label="x", y_label="y")
    for values in ({}, {"gru": -1.0}, {"gru": float("nan")}):
        with pytest.raises(ValueError, match="must be finite"):
            plots.compared_bars(values, path, **titles, shown={"gru": "1"})
    with pytest.raises(ValueError, match=r"\(1, 2\), rows x columns"):
        options = {"rows": {"gru": "GRU"}, "columns": ["1", "2"], "column_label": "c", "score_label": "s"}
        plots.score_grid([[1.0]], path, title="t", shown=[["1"]], **options)

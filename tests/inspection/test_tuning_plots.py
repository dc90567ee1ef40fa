"""Plots of a search: their properties, read from the figures that they save."""

import pathlib

import matplotlib.image
import numpy as np
import pytest
from matplotlib.patches import PathPatch

from keras_seq.inspection import plots
from keras_seq.inspection.plots import tuning


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved, in order."""
    saved = []
    save = tuning.save
    monkeypatch.setattr(tuning, "save", lambda figure, path: saved.append(figure) or save(figure, path))
    return saved


def texts(figure):
    """All texts of a figure, titles and labels of axes included."""
    parts = [figure._suptitle] if figure._suptitle else []
    for axes in figure.axes:
        parts += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_yticklabels()]
    return [part.get_text() for part in parts]


def lines(figure):
    """The ends and the colors of the lines of trials, and their widths."""
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, PathPatch)]
    return [(patch.get_path().vertices, patch.get_edgecolor(), patch.get_linewidth()) for patch in patches]


def test_importance_has_a_bar_for_each_parameter_and_the_largest_is_the_title(tmp_path, figures):
    shares = {"units": 0.3, "learning_rate": 0.61, "$x$": 0.09}
    path = plots.parameter_importance(shares, tmp_path / "a" / "x.png", objective="val_accuracy", trials=20)
    assert path.exists()
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"\$x\$", "units", "learning_rate"]
    assert [bar.get_width() for bar in axes.patches] == [0.09, 0.3, 0.61]
    assert "learning_rate explains 61% of the spread of val_accuracy over 20 trials" in texts(figures[0])
    plots.parameter_importance({"a": 0.0}, tmp_path / "zero.png")
    with pytest.raises(ValueError, match="at least one parameter"):
        plots.parameter_importance({}, tmp_path / "none.png")


VALUES = [
    {"cell": "lstm", "rate": 1e-4, "layers": 1},
    {"cell": "transformer", "rate": 1e-3, "layers": 2, "heads": 4},
    {"cell": "transformer", "rate": 1e-2, "layers": 4, "heads": 8},
]


@pytest.mark.parametrize("mode, best", [("max", 2), ("min", 0)])
def test_a_line_for_each_trial_and_the_best_is_the_widest_and_the_last(tmp_path, figures, mode, best):
    path = plots.parallel_coordinates(VALUES, [0.2, 0.5, 0.8], tmp_path / "x.png", objective="loss", mode=mode)
    assert path.exists()
    drawn = lines(figures[0])
    *others, (vertices, color, width) = drawn
    assert len(drawn) == 4 and width > max(width for *_, width in others[:2])  # the best has a white edge below
    assert vertices[-1, 1] == 1.0  # the best score lies at the top
    brightness = [sum(color[:3]) for _, color, _ in (*others[:2], drawn[-1])]
    assert sorted(brightness, reverse=True) == brightness  # better is darker
    shown = texts(figures[0])
    assert "rate (log)" in shown and "layers" in shown and "inactive" in shown
    assert {"lstm", "transformer", "4", "8"} <= set(shown)
    assert f"loss {[0.2, 0.5, 0.8][best]} is the best of 3 trials. Its values are in bold." in shown


def test_an_inactive_parameter_lies_below_its_axis_and_a_failed_trial_below_the_score(tmp_path, figures):
    scores = [0.2, float("nan"), 0.8]
    plots.parallel_coordinates(VALUES, scores, tmp_path / "x.png", names=["heads", "rate"])
    starts = {tuple(np.round(vertices[:, 1], 1)[[0, -1]]) for vertices, *_ in lines(figures[0])}
    assert starts == {(-0.1, 0.0), (0.0, -0.1), (1.0, 1.0)}
    assert {"inactive", "failed"} <= set(texts(figures[0]))
    assert any("(1 failed)" in text for text in texts(figures[0]))


def test_lines_of_one_value_lie_beside_each_other(tmp_path, figures):
    values = [{"cell": cell} for cell in ("gru", "lstm") for _ in range(4)]
    scores = np.linspace(0, 1, 8)
    plots.parallel_coordinates(values, scores, tmp_path / "x.png")
    starts = sorted(vertices[0, 1] for vertices, *_ in lines(figures[0])[:-2])
    assert len(set(starts)) == 7 and starts[0] >= 0 and starts[-1] <= 1
    assert starts[3] < 0.3 and starts[4] > 0.7  # the better cell at the top


def test_far_outliers_lie_at_the_edge(tmp_path, figures):
    scores = [1.0, 1.1, 1.2, 1.3, 900.0]
    plots.parallel_coordinates([{"a": a} for a in range(5)], scores, tmp_path / "x.png", mode="min")
    assert any(text.endswith(" or more") for text in texts(figures[0]))
    curves = {str(score): ([10], [score]) for score in scores}
    plots.score_against_cost(curves, tmp_path / "y.png", mode="min")
    assert figures[1].axes[0].get_ylim()[1] < 2
    assert "score (1 higher not shown)" in texts(figures[1])


@pytest.mark.parametrize(
    "values, scores",
    [
        ([{"a": 1}], [0.5]),
        ([{"a": 1}, {"a": 1}], [0.5, 0.5]),
        ([{"a": None}, {"a": True}, {"a": "x" * 99}, {"a": ""}], range(4)),
        ([{"a": 1.5}, {"b": 0}], [-1, float("inf")]),
        ([{"a": 0}, {"a": 1e9}, {"a": -3}, {"b": 1}] * 5, range(20)),
    ],
)
def test_all_kinds_of_values_are_drawn(tmp_path, values, scores):
    path = plots.parallel_coordinates(values, scores, tmp_path / "x.png", names=["a", "b", "never"])
    assert matplotlib.image.imread(path).std() > 0.05


@pytest.mark.parametrize("values, scores", [([], []), ([{"a": 1}], [1, 2]), ([{}], [1]), ([{"a": 1}], [np.nan])])
def test_trials_without_lines_are_refused(tmp_path, values, scores):
    with pytest.raises(ValueError, match="Received: "):
        plots.parallel_coordinates(values, scores, tmp_path / "x.png")
    assert not list(pathlib.Path(tmp_path).iterdir())


CURVES = {
    "0000": ([100, 200], [0.5, 0.7]),
    "0001": ([100], [float("nan")]),
    "0002": ([100, 200, 300], [0.6, 0.9, 0.8]),
    "0003": ([], []),
    "0004": ([100, 200], [0.4, 0.5]),
}


@pytest.mark.parametrize("mode, sign", [("max", 1), ("min", -1)])
def test_the_best_so_far_by_the_tokens_of_all_trials(tmp_path, figures, mode, sign):
    curves = {name: (tokens, [sign * score for score in scores]) for name, (tokens, scores) in CURVES.items()}
    path = plots.score_against_cost(curves, tmp_path / "x.png", unit="examples", objective="bleu", mode=mode)
    assert path.exists()
    left, right = figures[0].axes
    (step,) = [line for line in right.lines if line.get_label() == "best so far"]
    x, y = step.get_data()
    np.testing.assert_array_equal(x, [100, 200, 500, 800])  # the failed trial is paid for
    np.testing.assert_allclose(y, sign * np.array([0.5, 0.7, 0.9, 0.9]))
    (thick,) = [line for line in left.lines if line.get_label() == "trial 0002"]
    assert thick.get_linewidth() > max(line.get_linewidth() for line in left.lines if line is not thick)
    assert f"best bleu: {sign * 0.9}, found after 62% of 800 examples" in texts(figures[0])
    assert {"examples of the trial", "examples of all trials, in their order"} <= set(texts(figures[0]))


def test_curves_that_do_not_fit_are_refused(tmp_path):
    for wrong in ({}, {"a": ([1], [np.nan])}, {"a": ([1, 2], [0.5])}):
        with pytest.raises(ValueError, match="finite score"):
            plots.score_against_cost(wrong, tmp_path / "x.png")
    with pytest.raises(ValueError, match="Received: 0001"):
        plots.score_against_cost(CURVES, tmp_path / "x.png", best="0001")
    assert not list(pathlib.Path(tmp_path).iterdir())

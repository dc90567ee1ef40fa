import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from keras_seq import inspection
from keras_seq.inspection import clips, plots
from keras_seq.inspection.plots import cost, figures, rolls


def ink(path):
    """The share of pixels that are not white."""
    picture = matplotlib.image.imread(path)[..., :3]
    return float((picture < 0.98).any(axis=-1).mean())


def test_learning_curve(tmp_path):
    history = tmp_path / "history.csv"
    history.write_text("epoch,loss,val_loss,val_bleu,seconds\n1,3.0,3.1,,5\n2,2.0,2.2,11.5,9\n")
    path = plots.learning_curve(history, tmp_path / "plots" / "curve.png")
    assert 0.005 < ink(path) < 0.5
    # Two panels, loss and bleu, beside each other.
    height, width = matplotlib.image.imread(path).shape[:2]
    assert width > 2 * height
    with pytest.raises(ValueError, match="no epoch"):
        history.write_text("epoch,loss\n")
        plots.learning_curve(history, path)


def test_loss_by_position(tmp_path):
    falling = 3.0 / np.sqrt(np.arange(1, 65))
    one = plots.loss_by_position({"blocks of 64": falling}, tmp_path / "plots" / "one.png")
    two = plots.loss_by_position({"blocks of 64": falling, "carried": np.full(128, 0.4)}, tmp_path / "two.png")
    assert 0.005 < ink(one) < ink(two) < 0.5
    for wrong in ({}, {"a": []}, {"a": np.ones((2, 3))}):
        with pytest.raises(ValueError, match=r"floats \(T,\)"):
            plots.loss_by_position(wrong, one)


def test_score_by_length(tmp_path):
    accuracy = {5: 1.0, 10: 0.99, 20: 0.8}
    how = {"metric": "share of right answers", "trained_to": 10, "title": "gru: 99% at 10 steps"}
    shaded = plots.score_by_length(accuracy, tmp_path / "a.png", guessing=dict.fromkeys(accuracy, 0.125), **how)
    plain = plots.score_by_length(
        accuracy, tmp_path / "b.png", guessing=dict.fromkeys(accuracy, 0.125), **{**how, "trained_to": 20}
    )
    errors = plots.score_by_length({600: 5e-5}, tmp_path / "plots" / "c.png", guessing={600: 1 / 6}, **how)
    assert ink(errors) > 0.005 and 0.005 < ink(plain) < ink(shaded) < 0.7
    with pytest.raises(ValueError, match="same numbers of steps"):
        plots.score_by_length(accuracy, tmp_path / "a.png", guessing={5: 0.1}, **how)


def test_attention_map_is_dark_where_it_attends(tmp_path):
    pieces = ["▁ein", "Mann", "$x_1$", "猫"]
    full = plots.attention_map(np.ones((4, 4)), pieces, pieces, tmp_path / "full.png")
    sparse = plots.attention_map(np.eye(4), pieces, pieces, tmp_path / "sparse.png")
    pictures = [matplotlib.image.imread(path)[..., :3].mean() for path in (full, sparse)]
    assert pictures[0] < pictures[1]
    # Heads are averaged, and padding beyond the pieces is cut off.
    heads = np.zeros((2, 6, 5))
    heads[:, :4, :4] = np.eye(4) * np.array([0.5, 1.5])[:, None, None]
    same = plots.attention_map(heads, pieces, pieces, tmp_path / "heads.png")
    np.testing.assert_array_equal(matplotlib.image.imread(same), matplotlib.image.imread(sparse))


PLANS = {
    "one bucket": (1, 0.6),
    "even widths of 4": (9, 0.2),
    "3 fitted shapes": (3, 0.25),
    "7 fitted shapes": (7, 0.1),
}


def test_buckets(tmp_path):
    pairs = np.random.default_rng(0).poisson(12, (500, 2)) + 1
    pairs[0] = 9000  # one that would press all others into a corner
    few, many = [(9000, 9000)], [(8, 8), (12, 9), (9, 13), (20, 20), (9000, 9000)]
    pictures = []
    for number, (lengths, maxima) in enumerate(
        [(pairs, few), (pairs, many), (pairs[:, 0], [9000]), (pairs[:, 0], [8, 12, 20, 9000])]
    ):
        path = plots.buckets(lengths, maxima, PLANS, "7 fitted shapes", tmp_path / f"{number}.png")
        assert 0.01 < ink(path) < 0.5
        pictures.append(matplotlib.image.imread(path)[..., :3])

    def left_in_red(picture):
        """Pixels of the left half in the color of the buckets."""
        half = picture[:, : int(0.55 * picture.shape[1])]
        return int(((half[..., 0] > 0.7) & (half[..., 1] < 0.6) & (half[..., 2] < 0.5)).sum())

    assert left_in_red(pictures[0]) < left_in_red(pictures[1])
    assert left_in_red(pictures[2]) < left_in_red(pictures[3])


@pytest.mark.parametrize("lengths", [np.zeros((0, 2)), np.zeros((3, 3)), np.zeros((2, 2, 2))])
def test_lengths_of_another_shape_are_refused(tmp_path, lengths):
    with pytest.raises(ValueError, match="Received: shape"):
        plots.buckets(lengths, [3], PLANS, "3 fitted shapes", tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_buckets_of_one_length_only(tmp_path):
    plans = {"one bucket": (1, 0.0), "1 fitted shape": (1, 0.0)}
    for lengths, maxima in ((np.full(5, 3), [3]), (np.full((5, 2), 1), [(1, 1)])):
        assert ink(plots.buckets(lengths, maxima, plans, "1 fitted shape", tmp_path / "x.png")) > 0.01


@pytest.mark.parametrize(("shape", "rows", "columns"), [((2, 3), 3, 3), ((2, 3), 2, 4), ((2, 3), 0, 1), ((6,), 1, 1)])
def test_pieces_without_weights_are_refused(tmp_path, shape, rows, columns):
    with pytest.raises(ValueError, match="Received: shape"):
        plots.attention_map(np.ones(shape), ["a"] * columns, ["b"] * rows, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_missing_is_named(monkeypatch):
    for package in ("matplotlib.figure", "PIL"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r'Plots need matplotlib: pip install "keras-seq\[recipes\]"'):
        figures.new_figure(1, 1)
    with pytest.raises(ImportError, match="Clips are drawn with Pillow: pip install"):
        clips._board({}, [], [])


def test_names_of_the_package_and_of_its_plots():
    assert {"certify", "plots"} <= set(dir(inspection)) and "learning_curve" in dir(plots)


def test_perplexity_falls_on_a_logarithmic_axis(tmp_path):
    history = tmp_path / "history.csv"
    drawn = []
    for name in ("perplexity", "accuracy"):
        history.write_text(f"epoch,{name}\n1,1000\n2,10\n3,1\n")
        drawn.append(matplotlib.image.imread(plots.learning_curve(history, tmp_path / f"{name}.png"))[..., :3])
    assert drawn[0].shape == drawn[1].shape and np.abs(drawn[0] - drawn[1]).max() > 0.5


def test_matplotlib_is_loaded_only_to_draw():
    program = "import sys, keras_seq.inspection.plots; sys.exit(bool({'matplotlib', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_confusions_are_dark_where_the_classes_go(tmp_path):
    names = ["bad", "$good$"]
    right = plots.confusion_matrix([[90, 10], [10, 90]], names, tmp_path / "right.png")
    even = plots.confusion_matrix([[50, 50], [50, 50]], names, tmp_path / "even.png")
    darkest = [matplotlib.image.imread(path)[..., 0].min() for path in (right, even)]
    assert ink(right) > 0.2 and darkest[0] <= darkest[1]
    same = plots.confusion_matrix([[9000, 1000], [10, 90]], names, tmp_path / "same.png")  # shares of a row count
    assert abs(matplotlib.image.imread(same)[..., :3].mean() - matplotlib.image.imread(right)[..., :3].mean()) < 0.01
    plots.confusion_matrix([[0, 0], [1, 0]], names, tmp_path / "empty_row.png")
    with pytest.raises(ValueError, match="shape"):
        plots.confusion_matrix([[1, 2]], names, tmp_path / "none.png")


def of_color(path, red):
    """Pixels that are orange, or else blue."""
    picture = matplotlib.image.imread(path)[..., :3]
    warm = picture[..., 0] - picture[..., 2]
    return int((warm > 0.1).sum() if red else (warm < -0.1).sum())


def test_forecasts_have_their_band(tmp_path):
    steps = np.linspace(0, 6, 40)
    pasts, futures = np.sin(steps)[None].repeat(3, 0), np.sin(steps[:20] + 6)[None].repeat(3, 0)
    band = np.stack([futures - 0.5, futures + 0.5], axis=-1)
    titles = ["a", "$b$", "c"]
    drawn = [pasts, futures, futures + 0.2, titles]
    bare = plots.forecasts(*drawn, tmp_path / "bare.png")
    thin = plots.forecasts(*drawn, tmp_path / "thin.png", futures[..., None].repeat(2, axis=-1))
    wide = plots.forecasts(*drawn, tmp_path / "wide.png", band, "80% band")
    assert 0 < of_color(bare, True) <= of_color(thin, True) < 0.5 * of_color(wide, True)
    assert of_color(bare, False) > 100


@pytest.mark.parametrize(
    ("shapes", "titles", "band"),
    [
        (((2, 5), (2, 3), (2, 4)), 2, None),
        (((2, 5), (2, 3), (2, 3)), 1, None),
        (((2, 5), (2, 3), (2, 3)), 2, (2, 3)),
        (((2, 5), (2, 0), (2, 0)), 2, None),
        (((5,), (3,), (3,)), 3, None),
    ],
)
def test_forecasts_of_other_shapes_are_refused(tmp_path, shapes, titles, band):
    with pytest.raises(ValueError, match="Received: shapes"):
        band = None if band is None else np.zeros(band)
        plots.forecasts(*(np.zeros(shape) for shape in shapes), ["t"] * titles, tmp_path / "x.png", band)
    assert not list(tmp_path.iterdir())


def test_times_of_another_shape_are_refused(tmp_path):
    with pytest.raises(ValueError) as error:
        given = [np.zeros((2, 5)), np.zeros((2, 3)), np.zeros((2, 3)), ["a", "b"]]
        plots.forecasts(*given, tmp_path / "x.png", times=np.zeros((2, 3)))
    assert str(error.value) == "`times` must be (2, 8). Received: shape (2, 3)" and not list(tmp_path.iterdir())


def test_numbers_of_a_bar_have_a_prefix():
    numbers = {0: "0", 999: "999", 1000: "1 k", 2.5e6: "2.5 M", 1e9: "1 G", 2.5e12: "2.5 T"}
    assert {number: cost._with_prefix(number) for number in numbers} == numbers


def test_piano_roll(tmp_path):
    notes = np.zeros((12, 88))
    notes[np.arange(12), 39 + np.arange(12) // 4] = 1
    sure = plots.piano_roll(notes, notes, tmp_path / "sure.png", lowest=21, title="$3$ notes")
    blank = plots.piano_roll(notes, 0 * notes, tmp_path / "blank.png")
    wide = plots.piano_roll(notes, np.full((12, 88), 0.03), tmp_path / "wide.png")
    darkness = [1 - matplotlib.image.imread(path)[..., :3].mean() for path in (blank, sure)]
    assert 0.01 < darkness[0] < darkness[1] < 0.3
    heights = [matplotlib.image.imread(path).shape[0] for path in (sure, blank, wide)]
    assert heights[0] == heights[1] < heights[2]  # only the notes that sound or are likely
    for wrong in (notes[:, :5], notes[:0], notes[0]):
        with pytest.raises(ValueError, match=r"must both be \(T, F\).*Received: shapes"):
            plots.piano_roll(notes if wrong.ndim == 2 and len(wrong) else wrong, wrong, sure)


def test_notes_have_their_names():
    assert [rolls.note_name(midi) for midi in (21, 60, 69, 70, 108)] == ["A0", "C4", "A4", "A♯4", "C8"]


def test_errors_by_step(tmp_path):
    errors = {"gru": np.linspace(0.2, 0.4, 24), "repeat-last": np.linspace(0.5, 1.5, 24)}
    path = plots.errors_by_step(errors, tmp_path / "errors.png", "MSE")
    assert of_color(path, True) > 100 and of_color(path, False) > 50
    for wrong in ({}, {"a": np.zeros(3), "b": np.zeros(4)}, {"a": np.zeros(0)}, {"a": np.zeros((2, 2))}):
        with pytest.raises(ValueError, match="Received"):
            plots.errors_by_step(wrong, tmp_path / "none.png")


def test_shares_are_the_darker_the_more(tmp_path):
    names = {"rows": "architecture", "columns": "length, $copy$"}
    pictures = []
    for number, value in enumerate((0.1, 0.9)):
        path = plots.shares([[value, value]], ["$rnn$"], ["5", "10"], tmp_path / f"{number}.png", **names)
        pictures.append(matplotlib.image.imread(path)[..., :3].mean())
    assert pictures[1] < pictures[0]
    with pytest.raises(ValueError, match="Received: shape"):
        plots.shares([[0.1, 0.2]], ["rnn"], ["5"], tmp_path / "none.png", **names)


def test_speech_is_drawn_over_its_labels(tmp_path):
    random = np.random.default_rng(1)
    waveform, features = 0.1 * random.standard_normal(8000), random.standard_normal((100, 40))
    weights = np.zeros((4, 25))
    weights[0] = 1
    weights[:, 5], weights[:, 15] = [0.1, 0.9, 0, 0], [0.3, 0, 0.7, 0]
    names = ["blank", "one", "$two$", "never"]
    spikes = plots.speech_alignment(waveform, 8000, features, weights, names, tmp_path / "ctc.png", blank=0)
    flat = plots.speech_alignment(waveform, 8000, features, weights[:1] * 1.0, ["blank"], tmp_path / "x.png", blank=0)
    fields = plots.speech_alignment(waveform, 8000, features, weights, names, tmp_path / "attention.png")
    assert all(ink(path) > 0.1 for path in (spikes, flat, fields))

    def lower(path):
        picture = matplotlib.image.imread(path)[..., :3]
        return picture[picture.shape[0] * 6 // 10 :]

    assert (lower(spikes) < 0.98).sum() > (lower(flat) < 0.98).sum()  # the lines of two labels
    assert lower(fields).mean() < lower(spikes).mean()  # the row of the first is dark throughout


@pytest.mark.parametrize("wrong", [{"names": ["a"]}, {"waveform": np.zeros(0)}, {"weights": np.zeros(3)}])
def test_speech_without_its_parts_is_refused(tmp_path, wrong):
    given = {"waveform": np.ones(80), "features": np.ones((4, 2)), "weights": np.ones((2, 3)), "names": ["a", "b"]}
    with pytest.raises(ValueError, match="Received: shapes"):
        plots.speech_alignment(sampling_rate=8000, path=tmp_path / "x.png", **{**given, **wrong})
    assert not list(tmp_path.iterdir())


def test_the_cost_has_a_bar_for_each_layer(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(cost, "save", lambda figure, path: drawn.append(figure))
    plots.cost_by_layer(["a", "b$", "none"], [3e6, 1e6, 0], [1e3, 3e3, 0], tmp_path / "x.png", what="training step")
    left, right = drawn.pop().axes
    assert [bar.get_width() for bar in left.patches] == [3e6, 1e6, 0]
    assert left.get_title() == "75% of the FLOP: a" and right.get_title() == r"75% of the activations: b\$"
    assert left.get_xlabel() == "training step, FLOP" and right.get_xlabel().endswith("bytes")
    assert left.get_yticklabels()[2].get_text() == "1 smaller layer"
    # Of many layers, the smallest are one bar, and nothing is lost.
    names, flop = [f"l{i}" for i in range(40)], [1e6 + i for i in range(40)]
    plots.cost_by_layer(names, flop, [0] * 40, tmp_path / "y.png")
    left, _ = drawn.pop().axes
    assert len(left.patches) == 24 and sum(bar.get_width() for bar in left.patches) == sum(flop)
    assert left.get_title().endswith(": l39")
    with pytest.raises(ValueError, match="Received: 2, 1, 2"):
        plots.cost_by_layer(["a", "b"], [1], [1, 2], tmp_path / "z.png")
    monkeypatch.undo()
    image = plots.cost_by_layer(["a"], [1], [1], tmp_path / "w.png")
    assert image.stat().st_size > 1000

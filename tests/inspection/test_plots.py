import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from keras_seq.inspection import plots


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


@pytest.mark.parametrize(("shape", "rows", "columns"), [((2, 3), 3, 3), ((2, 3), 2, 4), ((2, 3), 0, 1), ((6,), 1, 1)])
def test_pieces_without_weights_are_refused(tmp_path, shape, rows, columns):
    with pytest.raises(ValueError, match="Received: shape"):
        plots.attention_map(np.ones(shape), ["a"] * columns, ["b"] * rows, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_matplotlib_is_loaded_only_to_draw():
    program = "import sys, keras_seq.inspection.plots; sys.exit(bool({'matplotlib', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

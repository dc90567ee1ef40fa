import numpy as np
import pytest
from PIL import Image

from keras_seq.inspection import clips

TRUTH = np.zeros((4, 6, 8, 1))
TRUTH[np.arange(4), 2, np.arange(4)] = 1  # a dot that moves
SCALE = 12  # of pictures whose shorter side has 6 points
RING = (8 * SCALE + 4) * (6 * SCALE + 4) - 8 * 6 * SCALE**2  # points of a frame


def exactly(board, color):
    return int((board == color).all(axis=-1).sum())


def boards_of(path):
    """All boards of an animation, uint8 `(T, height, width, 3)`."""
    with Image.open(path) as image:
        boards = []
        for step in range(image.n_frames):
            image.seek(step)
            boards.append(np.asarray(image.convert("RGB")))
        return np.stack(boards), image.info["duration"]


def test_a_strip_shows_all_pictures_and_which_are_predicted(tmp_path):
    path = clips.film_strip({"truth": TRUTH, "drawn": TRUTH[:2, ..., 0]}, tmp_path / "plots" / "strip.png", given=3)
    board = np.asarray(Image.open(path))
    assert exactly(board, 0) == 6 * 47 * SCALE**2
    assert exactly(board, clips._ACCENT) == RING and exactly(board, clips._FRAME) == 5 * RING
    # The dot moves to the right, one point of its picture after the other.
    rows, columns = np.nonzero((board == clips._ACCENT).all(axis=-1))
    top, left = rows.min() + 2, columns.min() + 2
    last = board[top : top + 6 * SCALE : SCALE, left : left + 8 * SCALE : SCALE]
    np.testing.assert_array_equal(last, np.repeat(255 * TRUTH[3], 3, axis=-1))


def test_colors_are_those_of_the_clip(tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (3, 80, 90, 3), dtype=np.uint8)  # not drawn larger
    board = np.asarray(Image.open(clips.film_strip({"": clip}, tmp_path / "strip.png")))
    rows, columns = np.nonzero((board == clips._FRAME).all(axis=-1))
    top, left = rows.min() + 2, columns.min() + 2
    np.testing.assert_array_equal(board[top : top + 80, left : left + 90], clip[0])


def test_an_animation_has_a_board_for_each_step(tmp_path):
    two = np.stack([TRUTH, TRUTH[::-1]])
    still = np.zeros_like(two)  # pictures that do not change are boards, too
    path = clips.animation(
        {"truth": two, "drawn": still}, tmp_path / "clips.gif", columns=["a", "b"], given=2, seconds=0.2
    )
    boards, duration = boards_of(path)
    assert len(boards) == 4 and duration == 200
    white = [exactly(board, 255) for board in boards]
    assert max(white) - min(white) < SCALE**2 // 2  # but for the number in the corner: two dots each
    changed = (boards[1] != boards[0]).any(axis=-1)
    assert changed.sum() >= 2 * 2 * SCALE**2
    found = [exactly(board, clips._ACCENT) for board in boards]
    assert found[:2] == [0, 0] and found[2:] == [4 * RING, 4 * RING]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda path: clips.film_strip({}, path), "no pictures"),
        (lambda path: clips.film_strip({"a": TRUTH[:0]}, path), "no pictures"),
        (lambda path: clips.film_strip({"a": TRUTH.repeat(2, -1)}, path), r"\(4, 6, 8, 2\)"),
        (lambda path: clips.film_strip({"a": TRUTH, "b": TRUTH[:, :5]}, path), "same size"),
        (lambda path: clips.animation({"a": TRUTH[None], "b": TRUTH[None, :3]}, path), "same shape"),
        (lambda path: clips.animation({"a": TRUTH[None]}, path, columns=["a", "b"]), "must name the 1 clips"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(tmp_path / "x.gif")

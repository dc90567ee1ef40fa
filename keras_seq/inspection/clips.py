"""Draws clips to files with Pillow: side by side in an animated GIF, or all frames on one strip."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["animation", "film_strip"]

_PAPER, _INK, _FRAME, _ACCENT = (255, 255, 255), (32, 32, 32), (72, 120, 168), (209, 86, 43)
_SIDE = 72  # smallest size of the shorter side of a drawn frame, in pixels
_GAP, _EDGE, _LETTERS = 8, 2, 13  # pixels between frames, of a border, of a line of text


def film_strip(rows: Mapping[str, np.ndarray], path: str | os.PathLike, *, given: int = 0) -> pathlib.Path:
    """Draws clips as rows, each from left to right.

    Args:
        rows: clips by label, `(T, H, W, C)` or `(T, H, W)` in [0, 1], or uint8. C is 1 or 3. All frames have the same
            size. T may differ.
        path: path of the image, whose suffix sets the format.
        given: number of given frames. Later frames are predicted and get a border of another color.
    Returns:
        The path of the image.
    Raises:
        ValueError: if the clips have other shapes.
        ImportError: if Pillow is not installed.
    """
    rows = {name: _colored(clip, 4, "(T, H, W, C)") for name, clip in _some(rows).items()}
    columns = [str(number + 1) for number in range(max(map(len, rows.values())))]
    marked = [0 < given <= number for number in range(len(columns))]
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _board(rows, columns, marked).save(path)
    return path


def animation(
    rows: Mapping[str, np.ndarray],
    path: str | os.PathLike,
    *,
    columns: Sequence[str] = (),
    given: int = 0,
    seconds: float = 0.3,
) -> pathlib.Path:
    """Writes an animated GIF with a column for each clip, and a row for each version of it.

    Args:
        rows: clips by label, `(N, T, H, W, C)` or `(N, T, H, W)` in [0, 1], or uint8. C is 1 or 3:
            `{"truth": clips, "prediction": drawn}`. All have the same shape.
        path: path of the file, `.gif`.
        columns: label above each clip.
        given: number of given frames. Later frames are predicted and get a border of another color.
        seconds: duration of each frame.
    Returns:
        The path of the file.
    Raises:
        ValueError: if the clips have other shapes.
        ImportError: if Pillow is not installed.
    """
    rows = {name: _colored(clips, 5, "(N, T, H, W, C)") for name, clips in _some(rows).items()}
    shapes = {clips.shape for clips in rows.values()}
    if len(shapes) > 1:
        raise ValueError(f"All rows must have the same shape. Received: {sorted(shapes)}")
    count, steps = shapes.pop()[:2]
    columns = list(columns) or [""] * count
    if len(columns) != count:
        raise ValueError(f"`columns` must name the {count} clips. Received: {columns}")
    boards = []
    for step in range(steps):
        pictures = {name: clips[:, step] for name, clips in rows.items()}
        boards.append(_board(pictures, columns, [0 < given <= step] * count, f"{step + 1} / {steps}"))
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Pillow would drop a board equal to the one before it, but each has a different number on it.
    boards[0].save(path, save_all=True, append_images=boards[1:], duration=round(1000 * seconds), loop=0)
    return path


def _some(rows: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    if not rows or any(not np.size(clips) for clips in rows.values()):
        raise ValueError(f"There are no pictures to draw. Received: { ({n: np.shape(x) for n, x in rows.items()}) }")
    return rows


def _colored(pictures: np.ndarray, rank: int, wanted: str) -> np.ndarray:
    """The pictures as uint8 with three channels."""
    pictures = np.asarray(pictures)
    pictures = pictures[..., None] if pictures.ndim == rank - 1 else pictures
    if pictures.ndim != rank or pictures.shape[-1] not in (1, 3):
        raise ValueError(f"Clips must be {wanted}, C 1 or 3. Received: shape {pictures.shape}")
    if pictures.dtype != np.uint8:
        pictures = np.round(255 * np.clip(pictures, 0, 1)).astype(np.uint8)
    return np.broadcast_to(pictures, (*pictures.shape[:-1], 3))


def _board(rows: Mapping[str, np.ndarray], columns: Sequence[str], marked: Sequence[bool], corner: str = ""):
    """An image of pictures, `(columns, H, W, 3)` in each row, with labels to the left and above."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise ImportError('Clips are drawn with Pillow: pip install "keras-seq[recipes]"') from None
    shapes = {pictures.shape[1:] for pictures in rows.values()}
    if len(shapes) > 1:
        raise ValueError(f"All pictures must have the same size. Received: {sorted(shapes)}")
    height, width, _ = shapes.pop()
    scale = max(1, -(-_SIDE // min(height, width)))
    font = ImageFont.load_default(_LETTERS)
    left = _GAP + max(round(font.getlength(name)) for name in [*rows, corner]) + _GAP
    across = max(width * scale, *(round(font.getlength(name)) for name in columns)) + _GAP
    top, down = _GAP + _LETTERS + _GAP, height * scale + _GAP
    board = Image.new("RGB", (left + len(columns) * across + _EDGE, top + len(rows) * down + _EDGE), _PAPER)
    draw = ImageDraw.Draw(board)
    draw.text((_GAP, _GAP), corner, _INK, font)
    for column, name in enumerate(columns):
        draw.text((left + column * across, _GAP), name, _INK, font)
    for row, (name, pictures) in enumerate(rows.items()):
        y = top + row * down
        draw.text((_GAP, y + height * scale // 2), name, _INK, font, anchor="lm")
        for column, picture in enumerate(pictures):
            x = left + column * across
            box = (x - _EDGE, y - _EDGE, x + width * scale + _EDGE - 1, y + height * scale + _EDGE - 1)
            draw.rectangle(box, _ACCENT if marked[column] else _FRAME)
            board.paste(Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1)), (x, y))
    return board

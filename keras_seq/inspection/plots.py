"""Pictures of a run, as files. matplotlib is imported when the first one is drawn; no display is needed."""

import csv
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

_COLOUR = "#4878a8"
_ACCENT = "#d1562b"


def learning_curve(history_csv: str | os.PathLike, path: str | os.PathLike) -> pathlib.Path:
    """Draws the columns of a `history.csv` over the epochs: one panel a number, training and validation together.

    Args:
        history_csv: with a column `epoch`; `val_x` is drawn in the panel of `x`.
        path: the picture; its ending names the format (.png, .svg, .pdf).
    Returns:
        The path of the picture.
    Raises:
        ValueError: if the file has no epoch.
        ImportError: if matplotlib is not installed.
    """
    with open(history_csv, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{history_csv} has no epoch to draw.")
    epochs = [int(float(row["epoch"])) for row in rows]
    columns = {name: [float(row[name] or "nan") for row in rows] for name in rows[0] if name != "epoch"}
    panels = list(dict.fromkeys(name.removeprefix("val_") for name in columns if name != "seconds"))

    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    figure = _figure(4.2 * across, 3.0 * down)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(down, across, index + 1)
        for name, label in ((panel, "training"), (f"val_{panel}", "validation")):
            if name in columns:
                axes.plot(epochs, columns[name], marker="o" if len(epochs) < 30 else None, markersize=3, label=label)
        axes.set_title(panel)
        if panel == "perplexity":
            axes.set_yscale("log")  # the first epochs would hide all the others
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if panel in columns and f"val_{panel}" in columns:
            axes.legend()
    return _save(figure, path)


def attention_map(
    weights: np.ndarray, source_pieces: Sequence[str], target_pieces: Sequence[str], path: str | os.PathLike
) -> pathlib.Path:
    """Draws attention weights: a row for each target piece, a column for each source piece, dark where they attend.

    Args:
        weights: `(T, S)` of one sentence, or `(H, T, S)`, of which the mean over the heads is drawn. Rows and columns
            beyond the pieces (padding) are cut off.
        source_pieces, target_pieces: at most S and T strings.
        path: the picture; its ending names the format.
    Returns:
        The path of the picture.
    Raises:
        ValueError: if there are no pieces, or more pieces than weights.
        ImportError: if matplotlib is not installed.
    """
    weights = np.asarray(weights, "float32")
    if weights.ndim == 3:
        weights = weights.mean(axis=0)  # (H, T, S) -> (T, S)
    rows, columns = len(target_pieces), len(source_pieces)
    if weights.ndim != 2 or not (0 < rows <= weights.shape[0] and 0 < columns <= weights.shape[1]):
        raise ValueError(
            "`weights` must be (T, S) or (H, T, S) with at least as many rows as target pieces and columns as source "
            f"pieces. Received: shape {weights.shape}, {rows} target pieces, {columns} source pieces"
        )
    figure = _figure(2.0 + 0.32 * columns, 1.5 + 0.32 * rows)
    axes = figure.add_subplot(1, 1, 1)
    image = axes.imshow(weights[:rows, :columns], cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    # A dollar sign would start a formula.
    axes.set_xticks(range(columns), [piece.replace("$", r"\$") for piece in source_pieces], rotation=90)
    axes.set_yticks(range(rows), [piece.replace("$", r"\$") for piece in target_pieces])
    axes.set_xlabel("source")
    axes.set_ylabel("target")
    figure.colorbar(image, ax=axes, fraction=0.04)
    return _save(figure, path)


def speech_alignment(
    waveform: np.ndarray,
    sample_rate: int,
    features: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str],
    path: str | os.PathLike,
    *,
    blank: int | None = None,
) -> pathlib.Path:
    """Draws where in a recording what is heard: the waveform, its features, and below them on the same time axis what
    a model makes of each step.

    Args:
        waveform: `(samples,)`.
        sample_rate: samples a second.
        features: `(frames, bands)`, log-mel say, of the whole waveform.
        weights: `(N, T)`, from 0 to 1: with `blank` the probability of each label at each step, drawn as lines, those
            that never come near 0.1 left out; without, a row of attention for each token, drawn as fields.
        names: of the N labels or tokens.
        blank: the label of CTC that is none; None: the weights are attention.
        path: the picture; its ending names the format.
    Returns:
        The path of the picture.
    Raises:
        ValueError: if there is nothing to draw, or there are not as many names as rows.
        ImportError: if matplotlib is not installed.
    """
    waveform, features, weights = (np.asarray(x, "float32") for x in (waveform, features, weights))
    ranks = (waveform.ndim, features.ndim, weights.ndim)
    if ranks != (1, 2, 2) or not (waveform.size and features.size and weights.size) or len(names) != len(weights):
        raise ValueError(
            "A waveform (samples,), features (frames, bands) and weights (N, T) with N names are needed. Received: "
            f"shapes {waveform.shape}, {features.shape} and {weights.shape}, {len(names)} names"
        )
    seconds, names = len(waveform) / sample_rate, [name.replace("$", r"\$") for name in names]
    figure = _figure(max(6.0, min(16.0, 3.0 * seconds)), 6.5)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[1, 1.4, 2])
    top.plot(np.arange(len(waveform)) / sample_rate, waveform, color=_COLOUR, linewidth=0.5)
    top.set_ylabel("waveform")
    middle.imshow(features.T, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, features.shape[1]))
    middle.set_ylabel("band")
    if blank is None:
        rows = len(names)
        bottom.imshow(weights, aspect="auto", cmap="Blues", vmin=0.0, vmax=1.0, extent=(0, seconds, rows - 0.5, -0.5))
        bottom.set_yticks(range(rows), names)
        bottom.set_ylabel("says")
    else:
        _draw_labels(bottom, weights, names, blank, seconds)
    bottom.set_xlabel("seconds")
    bottom.set_xlim(0, seconds)
    return _save(figure, path)


def _draw_labels(axes, weights: np.ndarray, names: Sequence[str], blank: int, seconds: float) -> None:
    """Probabilities over time, the name of a label over each of its peaks."""
    steps = weights.shape[1]
    times = (np.arange(steps) + 0.5) * seconds / steps
    axes.plot(times, weights[blank], color="0.7", linestyle="--", label=names[blank])
    best = weights.argmax(axis=0)
    for row, name in enumerate(names):
        if row == blank or weights[row].max() < 0.1:
            continue
        (line,) = axes.plot(times, weights[row], marker=".")
        _, first, behind = _runs((best == row)[None])
        for start, stop in zip(first, behind, strict=True):
            peak = start + int(weights[row, start:stop].argmax())
            place = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "color": line.get_color()}
            axes.annotate(name, (times[peak], weights[row, peak]), **place)
    axes.set_ylim(0, 1.15)
    axes.set_ylabel("probability")
    axes.legend(loc="center right")  # the names are above


def confusion_matrix(counts: np.ndarray, names: Sequence[str], path: str | os.PathLike) -> pathlib.Path:
    """Draws how often which class was taken for which: a row for each true class, a column for each predicted one.

    The darker, the larger the share of the row; a class that never comes has a white row.

    Args:
        counts: ints `(N, N)`.
        names: of the N classes.
        path: the picture; its ending names the format.
    Returns:
        The path of the picture.
    Raises:
        ValueError: if the counts are not `(N, N)`.
        ImportError: if matplotlib is not installed.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"`counts` must be {(len(names), len(names))}. Received: shape {counts.shape}")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure(2.4 + 0.9 * len(names), 2.0 + 0.7 * len(names))
    axes = figure.add_subplot()
    shown = [
        [f"{count:,}\n{share:.1%}" for count, share in zip(*row, strict=True)]
        for row in zip(counts, shares, strict=True)
    ]
    _draw_shares(figure, axes, shares, shown, names, names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return _save(figure, path)


def forecasts(
    pasts: np.ndarray,
    futures: np.ndarray,
    forecast: np.ndarray,
    titles: Sequence[str],
    path: str | os.PathLike,
    band: np.ndarray | None = None,
    band_label: str = "band",
) -> pathlib.Path:
    """Draws windows of series: a panel for each, with what came before, what was forecast and what then came.

    Args:
        pasts: floats `(N, T)`.
        futures, forecast: floats `(N, H)`.
        titles: of the N panels.
        path: the picture; its ending names the format.
        band: floats `(N, H, 2)`, the lower and the upper end of what was thought likely.
        band_label: what the legend says of it: "80% band".
    Returns:
        The path of the picture.
    Raises:
        ValueError: if the shapes do not belong together, or there is no window.
        ImportError: if matplotlib is not installed.
    """
    pasts, futures, forecast = (np.asarray(x, float) for x in (pasts, futures, forecast))
    N, H = (*futures.shape, 0)[:2]
    shapes = [x.shape for x in (pasts, futures, forecast) if x.ndim == 2]
    fits = band is None or np.shape(band) == (N, H, 2)
    if len(shapes) < 3 or forecast.shape != futures.shape or not len(pasts) == N == len(titles) or not (N * H and fits):
        raise ValueError(
            "`pasts` must be (N, T), `futures` and `forecast` (N, H), `band` (N, H, 2), with N titles, N and H > 0. "
            f"Received: shapes {pasts.shape}, {futures.shape}, {forecast.shape}, "
            f"{None if band is None else np.shape(band)}, {len(titles)} titles"
        )
    across = min(N, 2)
    down = -(-N // across)
    figure = _figure(6.4 * across, 2.8 * down)
    steps = np.arange(1, H + 1)
    for index, title in enumerate(titles):
        axes = figure.add_subplot(down, across, index + 1)
        before, last = np.arange(1 - pasts.shape[1], 1), pasts[index, -1:]
        axes.plot(before, pasts[index], color="grey", linewidth=1, label="past")
        axes.plot(np.append(0, steps), np.append(last, futures[index]), color=_COLOUR, label="what came")
        axes.plot(steps, forecast[index], color=_ACCENT, label="forecast")
        if band is not None:
            low, high = np.moveaxis(np.asarray(band, float)[index], -1, 0)
            axes.fill_between(steps, low, high, color=_ACCENT, alpha=0.25, linewidth=0, label=band_label)
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_title(title.replace("$", r"\$"))
        axes.grid(alpha=0.3)
        if index == 0:
            axes.legend(fontsize="small")
        if index >= N - across:
            axes.set_xlabel("step")
    return _save(figure, path)


def errors_by_step(errors: Mapping[str, np.ndarray], path: str | os.PathLike, unit: str = "error") -> pathlib.Path:
    """Draws how the error grows with the step that is forecast: a line for each model.

    Args:
        errors: for each name, floats `(H,)`; the first one stands out.
        path: the picture; its ending names the format.
        unit: what the errors are: "MSE".
    Returns:
        The path of the picture.
    Raises:
        ValueError: if there is no line, or they have not the same number of steps.
        ImportError: if matplotlib is not installed.
    """
    shapes = {name: np.shape(values) for name, values in errors.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 or not shape[0] for shape in shapes.values()):
        raise ValueError(f"`errors` must be of one shape (H,), H > 0. Received: {shapes}")
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()
    for place, (name, values) in enumerate(errors.items()):
        look = {"color": _ACCENT, "linewidth": 2, "zorder": 3} if place == 0 else {"linewidth": 1}
        steps = np.arange(1, len(values) + 1)
        axes.plot(steps, values, marker="o" if len(values) < 30 else None, markersize=3, label=name, **look)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.legend()
    return _save(figure, path)


def loss_by_position(losses: Mapping[str, np.ndarray], path: str | os.PathLike) -> pathlib.Path:
    """Draws the loss of the tokens over their place in a block: how much what was before them is worth, and how far.

    Args:
        losses: by name, floats `(T,)` in nats: the mean at each place; T may differ.
        path: the picture; its ending names the format.
    Returns:
        The path of the picture.
    Raises:
        ValueError: if there is nothing to draw, or the losses are not `(T,)`.
        ImportError: if matplotlib is not installed.
    """
    shapes = {name: np.shape(values) for name, values in losses.items()}
    if not shapes or any(len(shape) != 1 or not shape[0] for shape in shapes.values()):
        raise ValueError(f"`losses` must hold floats (T,) by name, one array at least. Received: {shapes}")
    figure = _figure(7.0, 4.0)
    axes = figure.add_subplot()
    for name, values in losses.items():
        places = np.arange(1, len(values) + 1)
        axes.plot(places, values, marker="o" if len(values) < 100 else None, markersize=2, linewidth=1, label=name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda place, _: f"{place:g}")
    axes.set_xlabel("place in the block")
    axes.set_ylabel("loss, nats per token")
    axes.grid(alpha=0.3)
    axes.legend()
    return _save(figure, path)


def shares(
    values: np.ndarray,
    row_names: Sequence[str],
    column_names: Sequence[str],
    path: str | os.PathLike,
    *,
    rows: str,
    columns: str,
) -> pathlib.Path:
    """Draws a table of shares, accuracies say, each field the darker the more.

    Args:
        values: fractions `(R, C)`.
        row_names, column_names: R and C of them.
        path: the picture; its ending names the format.
        rows, columns: what they are, written beside and below.
    Returns:
        The path of the picture.
    Raises:
        ValueError: if the values are not `(R, C)`.
        ImportError: if matplotlib is not installed.
    """
    values = np.asarray(values, "float64")
    if values.shape != (len(row_names), len(column_names)):
        wanted = (len(row_names), len(column_names))
        raise ValueError(f"`values` must be {wanted}, as many as there are names. Received: shape {values.shape}")
    figure = _figure(2.4 + 0.9 * len(column_names), 1.4 + 0.5 * len(row_names))
    axes = figure.add_subplot()
    _draw_shares(figure, axes, values, [[f"{value:.1%}" for value in row] for row in values], row_names, column_names)
    axes.set_xlabel(columns)
    axes.set_ylabel(rows)
    return _save(figure, path)


def _draw_shares(figure, axes, shares: np.ndarray, shown: list[list[str]], rows: Sequence[str], columns: Sequence[str]):
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, shown[row][column], color=colour, ha="center", va="center")
    rows, columns = ([name.replace("$", r"\$") for name in names] for names in (rows, columns))
    axes.set_xticks(range(len(columns)), columns, rotation=0 if len(columns) < 6 else 90)
    axes.set_yticks(range(len(rows)), rows)
    figure.colorbar(image, ax=axes, fraction=0.04, format=lambda share, _: f"{share:.0%}")


def buckets(
    lengths: np.ndarray,
    maxima: Sequence,
    plans: Mapping[str, tuple[int, float]],
    chosen: str,
    path: str | os.PathLike,
) -> pathlib.Path:
    """Draws the lengths of a corpus with the buckets that its examples go to, and padding over the number of shapes.

    One length: a histogram, and a line at the end of each bucket. Two: how many examples have which source and target
    length, the darker the more, with both histograms at the sides; a line runs between two buckets, so that all pairs
    inside one field are padded to its upper right corner, the dot.

    Args:
        lengths: ints `(N,)`, or `(N, 2)` of source and target.
        maxima: inclusive, numbers or (source, target); an example goes to the first that it fits into, by rising sum.
        plans: ways of batching by name: the number of shapes, and the share of padding.
        chosen: the name of the one to mark.
        path: the picture; its ending names the format.
    Returns:
        The path of the picture.
    Raises:
        ValueError: if there are no lengths.
        ImportError: if matplotlib is not installed.
    """
    lengths = np.asarray(lengths)
    if not lengths.size or lengths.ndim > 2 or lengths.shape[1:] not in ((), (2,)):
        raise ValueError(f"`lengths` must have shape (N,) or (N, 2), and N > 0. Received: shape {lengths.shape}")
    figure = _figure(12.0, 5.6)
    left, right = figure.subfigures(1, 2, width_ratios=[1.35, 1])
    if lengths.ndim == 1:
        _draw_boundaries(left.add_subplot(), lengths, maxima)
    else:
        _draw_shapes(left, lengths, maxima)
    _draw_plans(right.add_subplot(), plans, chosen)
    return _save(figure, path)


def _longest_drawn(lengths: np.ndarray) -> int:
    """Two examples in a thousand may be left out of sight: few very long ones would press all others into a corner."""
    return max(2, int(np.quantile(lengths, 0.998, method="lower") * 1.1) + 1)


def _draw_boundaries(axes, lengths: np.ndarray, maxima: Sequence[int]) -> None:
    last = _longest_drawn(lengths)
    width = -(-last // 120)  # more bars than that melt into one another
    axes.hist(lengths, np.arange(0.5, last + width + 0.5, width), color=_COLOUR)
    ends = [longest + 0.5 for longest in maxima if longest <= last]
    axes.vlines(ends, 0, 1, color=_ACCENT, linewidth=0.8, transform=axes.get_xaxis_transform(), label="end of a bucket")
    beyond = int((lengths > last).sum())
    axes.set_xlabel("length" + (f" ({beyond:,} longer, to {lengths.max():,}, not shown)" if beyond else ""))
    axes.set_xlim(0.5, last + 0.5)
    axes.set_ylabel("examples")
    axes.legend(loc="upper right")
    axes.set_title(f"{len(lengths):,} examples in {len(maxima)} buckets")


def _draw_shapes(figure, lengths: np.ndarray, maxima: Sequence[tuple[int, int]]) -> None:
    grid = figure.add_gridspec(2, 2, width_ratios=[6, 1], height_ratios=[1, 6])
    axes = figure.add_subplot(grid[1, 0])
    last = [_longest_drawn(lengths[:, side]) for side in (0, 1)]
    width = [-(-longest // 150) for longest in last]
    edges = [np.arange(0.5, last[side] + width[side] + 0.5, width[side]) for side in (0, 1)]
    counts, *_ = np.histogram2d(*lengths.T, bins=edges)
    # Shares of the densest cell on a square root scale: rare lengths stay visible, empty cells stay white.
    axes.pcolormesh(*edges, np.sqrt(np.where(counts.T > 0, counts.T, np.nan)), cmap="Blues", vmin=-0.5, rasterized=True)

    shapes = np.array(sorted(maxima, key=lambda shape: (sum(shape), tuple(shape))))  # (K, 2)
    places = [np.linspace(0.5, longest + 0.5, min(longest, 600) + 1) for longest in last]
    middles = [(place[1:] + place[:-1]) / 2 for place in places]
    fits = (middles[0][:, None, None] <= shapes[:, 0] + 0.5) & (middles[1][:, None] <= shapes[:, 1] + 0.5)
    field = np.where(fits.any(axis=2), fits.argmax(axis=2), len(shapes))  # (S, T): the first bucket that fits
    x, low, high = _runs(field[1:] != field[:-1])  # between two fields, from left to right
    axes.vlines(places[0][x + 1], places[1][low], places[1][high], color=_ACCENT, linewidth=0.7)
    y, low, high = _runs((field[:, 1:] != field[:, :-1]).T)
    axes.hlines(places[1][y + 1], places[0][low], places[0][high], color=_ACCENT, linewidth=0.7)
    seen = shapes[(shapes <= last).all(axis=1)]
    axes.plot(*(seen + 0.5).T, "o", color=_ACCENT, markersize=3)

    beyond = int((lengths > last).any(axis=1).sum())
    axes.set_xlabel("source length" + (f" ({beyond:,} longer pairs not shown)" if beyond else ""))
    axes.set_ylabel("target length")
    axes.set_xlim(0.5, last[0] + 0.5)
    axes.set_ylim(0.5, last[1] + 0.5)
    above, beside = figure.add_subplot(grid[0, 0], sharex=axes), figure.add_subplot(grid[1, 1], sharey=axes)
    above.hist(lengths[:, 0], edges[0], color=_COLOUR)
    beside.hist(lengths[:, 1], edges[1], color=_COLOUR, orientation="horizontal")
    for margin in (above, beside):
        margin.axis("off")
    above.set_title(f"{len(lengths):,} pairs in {len(maxima)} (source, target) shapes")


def _runs(there: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where True stands in a row: the row, the first column and the one after the last, `(runs,)` each."""
    steps = np.diff(there.astype(int), axis=1, prepend=0, append=0)
    rows, first = np.nonzero(steps == 1)
    return rows, first, np.nonzero(steps == -1)[1]


def _draw_plans(axes, plans: Mapping[str, tuple[int, float]], chosen: str) -> None:
    fitted = sorted(figures for name, figures in plans.items() if "fitted" in name)
    axes.plot(*zip(*fitted, strict=True), "-o", color=_ACCENT, markersize=5, label="fitted")
    for shapes, padding in fitted:
        place = {"xytext": (-5, -5), "textcoords": "offset points", "ha": "right", "va": "top"}
        axes.annotate(f"{padding:.1%}", (shapes, padding), color=_ACCENT, **place)
    for name, (shapes, padding) in plans.items():
        if "fitted" not in name:
            axes.plot(shapes, padding, "s", color=_COLOUR, markersize=6)
            place = {"xytext": (7, 5), "textcoords": "offset points"}
            axes.annotate(f"{name}: {padding:.1%}", (shapes, padding), color=_COLOUR, **place)
    axes.plot(*plans[chosen], "o", color=_ACCENT, markersize=13, fillstyle="none", label=f"to take: {chosen}")
    axes.set_xscale("log")
    ticks = sorted({1, *(shapes for shapes, _ in fitted)})
    axes.set_xticks(ticks, ticks)
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.8, 12 * max(shapes for shapes, _ in plans.values()))  # room for the names
    most = max(0.01, *(padding for _, padding in plans.values()))
    axes.set_ylim(-0.06 * most, 1.08 * most)
    axes.set_xlabel("shapes")
    axes.set_ylabel("padding")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    axes.set_title("padding by the number of shapes")


def _figure(width: float, height: float):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("Plots need matplotlib: pip install keras-seq[recipes]") from None
    # A bare Figure draws with Agg and leaves pyplot's global state and the user's backend alone.
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure, path: str | os.PathLike) -> pathlib.Path:
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Scripts that the default font lacks are drawn as boxes; that is no reason to alarm anybody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=120)
    return path

"""The figures of a report: each one as a PNG in the folder, and as an SVG that takes the colors of its page."""

import pathlib
import re
import tempfile
from collections.abc import Callable, Mapping

import numpy as np

from keras_seq.comparison import figures, findings, measures
from keras_seq.comparison.document import Image
from keras_seq.inspection import plots
from keras_seq.inspection.plots.comparison import INK


class Charts:
    """Draws the figures of a record into `folder/plots`."""

    def __init__(self, record: Mapping, folder: pathlib.Path):
        self.record = record
        self.folder = folder / "plots"
        self.paths: list[pathlib.Path] = []

    def _drawn(self, name: str, alt: str, draw: Callable[[pathlib.Path], pathlib.Path]) -> Image:
        path = draw(self.folder / f"{name}.png")
        self.paths.append(path)
        with tempfile.TemporaryDirectory() as folder:
            svg = draw(pathlib.Path(folder) / f"{name}.svg").read_text(encoding="utf-8")
        return Image(path, inline(svg, name), alt)

    def quality(self) -> Image:
        """The best score of each architecture with its seeds."""
        entries, scores = figures.architectures(self.record), findings.by_score(self.record)
        seeds = {name: _finite(entries[name]["best"].get("scores") or []) or [scores[name].value] for name in scores}
        alt = _alt(findings.quality(self.record), "Mean score", self.record, {n: s.text for n, s in scores.items()})
        options = {"title": findings.quality(self.record), "label": score_label(self.record)}
        options |= {"labels": figures.labels(self.record), "percent": figures.is_share(self.record)}
        return self._drawn("quality", alt, lambda path: plots.score_ranges(seeds, path, **options))

    def learning(self) -> Image | None:
        """The score of the best run of each architecture over the tokens of training."""
        found = measures.best_curves(self.record)
        curves = {name: tuple(zip(*points, strict=True)) for name, points in found.items()}
        if not curves:
            return None
        last = {name: figures.score_text(self.record, y[-1]) for name, (_, y) in curves.items()}
        title = findings.learning(self.record) or "Score of each architecture's best run in training"
        alt = _alt(title, "Last score", self.record, last)
        return self._curves("learning", title, alt, curves, "tokens of training")

    def by_length(self) -> Image | None:
        """The score of the texts of each bin of lengths."""
        curves, ticks = {}, {}
        for name in figures.architectures(self.record):
            bins = measures.large_bins(self.record, name)
            if bins:
                ticks |= {float(i): measures.bin_name(each) for i, each in enumerate(bins)}
                curves[name] = list(map(float, range(len(bins)))), [float(each["score"]) for each in bins]
        if not curves:
            return None
        last = {name: figures.score_text(self.record, float(y[-1])) for name, (_, y) in curves.items()}
        title = findings.quality_by_length(self.record) or "Scores by length"
        alt = _alt(title, f"Score at {list(ticks.values())[-1]} tokens", self.record, last)
        return self._curves("quality_by_length", title, alt, curves, "length of the text in tokens", ticks=ticks)

    def remembering(self) -> Image:
        """The score of the memory task by the number of steps to remember."""
        memory, known = self.record.get("memory") or {}, figures.architectures(self.record)
        found = {name: y for name, y in (memory.get("scores") or {}).items() if name in known}
        curves = {name: (memory["lengths"], _or_nan(y)) for name, y in found.items()}
        title = findings.remembering(self.record) or "Scores by steps to remember"
        last = {name: "-" if np.isnan(y[-1]) else f"{y[-1]:.1%}" for name, (_, y) in curves.items()}
        alt = _alt(title, f"Score at {memory['lengths'][-1]} steps", self.record, last)
        options = {"x_label": "steps to remember", "y_label": f"score of {memory.get('task', 'the task')}, %"}
        options |= {"labels": figures.labels(self.record), "percent": True, "log_x": True, "title": title}
        options["ticks"] = {float(length): f"{length:g}" for length in memory["lengths"]}
        return self._drawn("remembering", alt, lambda path: plots.compared_curves(curves, path, **options))

    def generation(self) -> Image:
        """The cost of a generated token by the length of the text."""
        curves = {}
        for name, entry in figures.architectures(self.record).items():
            points = (entry.get("cost") or {}).get("generation") or []
            if points:
                milliseconds = [1e3 * y for y in _or_nan(p["seconds_per_token"] for p in points)]
                curves[name] = [p["length"] for p in points], milliseconds
        title = findings.generation(self.record) or "Cost of a generated token"
        last = {name: figures.seconds(figures.number(y[-1] / 1e3)) for name, (_, y) in curves.items()}
        alt = _alt(title, "Time of a token at the greatest length", self.record, last)
        options = {"x_label": "length of the text in tokens", "y_label": "time per generated token, ms"}
        options |= {"labels": figures.labels(self.record), "log_x": True, "from_zero": True, "title": title}
        options["ticks"] = {float(length): f"{length:g}" for x, _ in curves.values() for length in x}
        return self._drawn("generation", alt, lambda path: plots.compared_curves(curves, path, **options))

    def cost(self, name: str, title: str, label: str, measure, unit=None) -> Image | None:
        """A bar for each architecture, the least cost at the top. `unit` returns that of the largest number."""
        found = findings.ranked(self.record, measure)
        if not found:
            return None
        scale, shown_unit = unit(max(figure.value for figure in found.values())) if unit else (1.0, "times")
        label = f"{label}, {shown_unit}"
        values = {each: figure.value / scale for each, figure in found.items()}
        shown = {each: figure.text.split(" per ")[0] for each, figure in found.items()}
        options = {"title": title, "label": label, "shown": shown, "labels": figures.labels(self.record)}
        alt = _alt(title, label, self.record, shown)
        return self._drawn(name, alt, lambda path: plots.compared_bars(values, path, **options))

    def grid(self) -> Image | None:
        """The mean score over the seeds for each architecture and learning rate."""
        entries = figures.architectures(self.record)
        rates = sorted({run["learning_rate"] for entry in entries.values() for run in entry.get("runs") or []})
        if not rates:
            return None
        cells = {name: [grid_cell(self.record, entry, rate) for rate in rates] for name, entry in entries.items()}
        title = findings.ease(self.record) or "Scores by learning rate"
        shown = [[text for _, text in row] for row in cells.values()]
        texts = {n: ", ".join(f"{r:g}: {t}" for r, (_, t) in zip(rates, row, strict=True)) for n, row in cells.items()}
        alt = _alt(title, "Scores by learning rate", self.record, texts)
        options = {"rows": figures.labels(self.record), "columns": [f"{rate:g}" for rate in rates], "shown": shown}
        options |= {"column_label": "learning rate", "score_label": score_label(self.record), "title": title}
        options["percent"] = figures.is_share(self.record)
        scores = [[np.nan if score is None else score for score, _ in row] for row in cells.values()]
        mode = self.record.get("score", {}).get("mode", "max")
        return self._drawn("grid", alt, lambda path: plots.score_grid(scores, path, mode=mode, **options))

    def _curves(self, name, title, alt, curves, x_label, **options) -> Image:
        options |= {"title": title, "x_label": x_label, "y_label": score_label(self.record)}
        options |= {"labels": figures.labels(self.record), "percent": figures.is_share(self.record)}
        return self._drawn(name, alt, lambda path: plots.compared_curves(curves, path, **options))


def score_label(record: Mapping) -> str:
    """The name of the score, its split and its unit."""
    score = record.get("score", {})
    split = {"valid": "validation "}.get(score.get("split", ""), f"{score.get('split', '')} ").lstrip()
    unit = "%" if figures.is_share(record) else score.get("unit", "")
    return f"{split}{score.get('name', 'score')}" + (f", {unit}" if unit else "")


def grid_cell(record: Mapping, entry: Mapping, rate: float) -> tuple[float | None, str]:
    """The mean score of the runs of a learning rate, and its text with the number of those without a score."""
    runs = [run for run in entry.get("runs") or [] if run["learning_rate"] == rate]
    scores = [run["score"] for run in runs if measures.has_score(run)]
    lost = [run.get("status", "failed") for run in runs if not measures.has_score(run)]
    if not scores:
        return None, lost[0] if lost else "no run"
    mean = sum(scores) / len(scores)
    return mean, figures.score_text(record, mean) + (f" ({len(lost)} {lost[0]})" if lost else "")


def _or_nan(values) -> list[float]:
    return [np.nan if value is None else value for value in map(figures.number, values)]


def _finite(values) -> list[float]:
    return [value for value in map(figures.number, values) if value is not None]


def _alt(title: str, label: str, record: Mapping, values: Mapping[str, str]) -> str:
    """The text of a figure for readers who do not see it: its finding and its numbers."""
    names = figures.labels(record)
    return f"{findings.sentence(title)} {label}: " + "; ".join(f"{names[n]} {text}" for n, text in values.items()) + "."


def inline(svg: str, name: str) -> str:
    """The SVG as an element of a page: without a size, with ids of its own, and in the colors of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg))
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg).replace("url(#", f"url(#{name}-")
    return svg.replace("<svg", '<svg aria-hidden="true"', 1).replace(INK, "currentColor").strip()

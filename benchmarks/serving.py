"""Serving: requests a second within a limit of the latency, of `keras-seq serve`, BentoML and LitServe.

All serve one SavedModel:

python -m benchmarks.serving --locust VENV/bin/locust --bentoml VENV/bin/python --litserve VENV/bin/python --out DIR

`peers/README.md` describes their environments. A server without an environment is left out.
"""

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from keras import ops

from benchmarks import timing
from benchmarks.served_processes import Load, Server, bentoml, litserve, load, ours, running
from keras_seq import cli, export, models, tasks
from keras_seq.cli import option
from keras_seq.serving.settings import Settings


@dataclasses.dataclass(frozen=True)
class Options(timing.Options):
    """Serves a Transformer-Tiny on loopback, to clients with texts of Zipf-distributed lengths."""

    core: int | None = option(None, "the core that everything runs on; none: the system decides")
    locust: pathlib.Path = option(pathlib.Path("locust"), "the program locust, which sends the requests")
    bentoml: pathlib.Path | None = option(None, "the Python that has BentoML")
    litserve: pathlib.Path | None = option(None, "the Python that has LitServe")
    out: pathlib.Path | None = option(None, "folder for the table and the plot")
    clients: int = option(64, "number of clients")
    seconds: float = option(20.0, "duration of a measurement, three seconds before it not counted")
    limit: float = option(2.0, "limit of the 99th percentile of the latency in seconds")
    steps: int = option(5, "number of rates that the search for the limit tries")
    rows: tuple[int, ...] = option((1, 4, 16), "most rows of a batch that the others try, the best of them is taken")
    longest: int = option(200, "longest text in words")
    batch_tokens: int = option(Settings.batch_tokens, "our budget of a batch")
    width_ratios: tuple[float, ...] = option((1.0, Settings.width_ratio), "our largest ratios of widths in a batch")
    max_wait_ms: float = option(Settings.max_wait_ms, "our longest wait for others, in milliseconds")


@dataclasses.dataclass
class Measured:
    """The loads of a server: the closed loop, and open loops by their rates."""

    server: Server
    closed: Load
    opened: dict[float, Load] = dataclasses.field(default_factory=dict)

    def within(self, limit: float) -> tuple[float, Load] | None:
        """The highest rate whose 99th percentile is at most `limit`, with its load, or None."""
        good = {rate: found for rate, found in self.opened.items() if found.p99 <= limit and not found.failed}
        return max(good.items(), default=None, key=lambda item: item[0])


@keras.saving.register_keras_serializable("benchmarks")
class SameLength(models.Transformer):
    """A Transformer whose outputs end after as many tokens as their source has, as those of a trained translator do."""

    end_id = 3

    def encode(self, source, max_length=None, **asked):
        state = super().encode(source, max_length=max_length, **asked)
        return {**state, "left": ops.sum(ops.cast(source != self.pad_id, "int32"), axis=1)}  # (B,)

    def decode(self, tokens, state, training=False):
        rest = {name: part for name, part in state.items() if name != "left"}
        logits, rest = super().decode(tokens, rest, training=training)
        left = state["left"] - ops.shape(tokens)[1]
        bonus = ops.where(left <= 0, 1e4, -1e4)[:, None, None]
        end = ops.one_hot(self.end_id, logits.shape[-1], dtype=logits.dtype)
        return logits + bonus * end, {**rest, "left": left}


def main(options: Options) -> None:
    timing.prepare(options)
    _, subwords = timing.encoded_pairs(options)
    assert subwords.end_id == SameLength.end_id
    file = timing.folder(options.data_dir) / f"train.{options.source}"
    texts = zipf_texts(file.read_text(encoding="utf-8").splitlines(), options.longest)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "texts").write_text("\n".join(texts), encoding="utf-8")
        model = SameLength(subwords.size, units=128, num_heads=4, num_layers=4, intermediate_dim=256)
        export.saved_model(tasks.Translation(model, subwords, search="greedy"), folder / "model", verify=False)
        found = [measured(options, folder, make, rows) for make, rows in servers(options, folder)]
    report = f"{timing.machine()}, {os.cpu_count()} processors\n\n{written(options, found)}"
    print(report)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "serving.md").write_text(report, encoding="utf-8")
        draw(options, found, options.out / "serving.png")


def zipf_texts(captions: list[str], longest: int, count: int = 2000) -> list[str]:
    """Texts whose lengths in words follow Zipf's law: captions one after another, cut to the length that was drawn."""
    random = np.random.default_rng(0)
    shares = 1 / np.arange(1, longest + 1)
    lengths = random.choice(np.arange(1, longest + 1), count, p=shares / shares.sum())
    words = iter(" ".join(random.permutation(captions)).split() * 20)
    return [" ".join(next(words) for _ in range(length)) for length in lengths]


def servers(options: Options, folder: pathlib.Path) -> list[tuple[Callable[[int], Server], Sequence[int]]]:
    """For each server a function from the most rows of a batch to the server, and the numbers of rows to try."""
    found: list[tuple[Callable[[int], Server], Sequence[int]]] = []
    for ratio in options.width_ratios:
        server = ours(folder / "model", options.batch_tokens, options.max_wait_ms, ratio)
        found.append((lambda rows, server=server: server, (0,)))
    for make, python in ((bentoml, options.bentoml), (litserve, options.litserve)):
        if python is not None:
            found.append((lambda rows, make=make, python=python: make(python, rows), options.rows))
    return found


def measured(options: Options, folder: pathlib.Path, make: Callable[[int], Server], rows: Sequence[int]) -> Measured:
    """A closed loop for each number of rows, and for the best of them open loops about the limit of the latency."""
    tried = []
    for server in map(make, rows):
        with running(server, folder) as port:
            tried.append(Measured(server, _load(options, server, port, folder, 0.0)))
    best = max(tried, key=lambda one: one.closed.rate)
    with running(best.server, folder) as port:
        search(options, best, port, folder)
    return best


def search(options: Options, one: Measured, port: int, folder: pathlib.Path) -> None:
    """Halves the interval of rates in which the 99th percentile passes the limit."""
    low, high = 0.0, 1.2 * one.closed.rate
    for _ in range(options.steps):
        rate = round((low + high) / 2, 2)
        one.opened[rate] = found = _load(options, one.server, port, folder, rate)
        low, high = (rate, high) if found.p99 <= options.limit and not found.failed else (low, rate)


def _load(options: Options, server: Server, port: int, folder: pathlib.Path, rate: float) -> Load:
    found = load(server, port, folder, options.locust, options.clients, options.seconds, rate)
    limit = "" if server.rows is None else f", {server.rows} rows"
    loop = f"open loop, {rate:.2f}/s" if rate else "closed loop"
    timing.log(f"{server.title}{limit}, {loop}: {json.dumps({k: round(v, 3) for k, v in found._asdict().items()})}")
    return found


HEAD = ("server", "most rows", "loop", "requests/s", "p50, s", "p99, s", "failed", "padding")


def written(options: Options, found: Sequence[Measured]) -> str:
    """A table of the closed loops, and of the open loops at the limit."""
    rows = []
    for one in found:
        most = "by tokens" if one.server.rows is None else str(one.server.rows)
        best = one.within(options.limit)
        rows.append([one.server.title, most, "closed", *_shown(one.closed)])
        if best is None:
            rows.append([one.server.title, most, f"open: below {min(one.opened):.1f}/s", *[""] * 5])
        else:
            rows.append([one.server.title, most, "open", *_shown(best[1])])
    return timing.table(HEAD, rows)


def _shown(load: Load) -> list[str]:
    return [f"{load.rate:.1f}", f"{load.p50:.2f}", f"{load.p99:.2f}", str(load.failed), f"{load.padding:.0%}"]


def draw(options: Options, found: Sequence[Measured], path: pathlib.Path) -> None:
    """Rates of the open loops and their latency."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for one in found:
        points: Mapping[float, Load] = dict(sorted(one.opened.items()))
        (line,) = axis.plot(points.keys(), [x.p99 for x in points.values()], marker="o", label=one.server.title)
        axis.plot(points.keys(), [x.p50 for x in points.values()], marker=".", ls=":", color=line.get_color())
    axis.axhline(options.limit, color="gray", lw=0.8)
    axis.set(xlabel="requests a second (open loop)", ylabel="latency in seconds (dotted: median)", xlim=(0, None))
    axis.set_yscale("log")
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    cli.run(main, Options)

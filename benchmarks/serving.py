"""Serving: requests a second within a limit of the latency, of `keras-seq serve`, BentoML and LitServe.

All serve one SavedModel:

python -m benchmarks.serving --locust VENV/bin/locust --bentoml VENV/bin/python --litserve VENV/bin/python --out DIR

`peers/README.md` describes their environments. A server without an environment is left out.
"""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from benchmarks import timing
from benchmarks.served_processes import Load, Server, bentoml, litserve, load, ours, running
from keras_seq import cli, export, models, tasks
from keras_seq.cli import option
from keras_seq.serving.settings import Settings

OVERLOAD = 2  # times the limit


@dataclasses.dataclass(frozen=True)
class Options(timing.Options):
    """Serves a Transformer-Tiny on loopback, to clients with texts of Zipf-distributed lengths."""

    core: int | None = option(None, "the core that everything runs on; none: the system decides")
    locust: pathlib.Path = option(pathlib.Path("locust"), "the program locust, which sends the requests")
    bentoml: pathlib.Path | None = option(None, "the Python that has BentoML")
    litserve: pathlib.Path | None = option(None, "the Python that has LitServe")
    out: pathlib.Path | None = option(None, "folder for the table and the plot")
    clients: int = option(64, "number of clients")
    seconds: float = option(12.0, "duration of a load, three seconds before it not counted")
    rounds: int = option(2, "number of loads of each server and rate, in turn")
    rates: tuple[float, ...] = option((8.0, 12.0, 16.0, 20.0, 24.0), "requests per second of the open loops")
    limit: float = option(2.0, "limit of the 99th percentile of the latency in seconds")
    rows: tuple[int, ...] = option((1, 4), "most rows of a batch that the others try, the best of them is taken")
    longest: int = option(200, "longest text in words")
    batch_tokens: int = option(Settings.batch_tokens, "our budget of a batch")
    width_ratios: tuple[float, ...] = option((Settings.width_ratio,), "our largest ratios of widths in a batch")
    max_wait_ms: float = option(Settings.max_wait_ms, "our longest wait for others, in milliseconds")


@dataclasses.dataclass
class Measured:
    """The loads of a server: the closed loop, and open loops by their rates."""

    server: Server
    closed: Load
    opened: dict[float, Load] = dataclasses.field(default_factory=dict)

    def latencies(self) -> dict[float, float]:
        """The 99th percentile by rate. A higher rate with a lower one refutes it: other work has disturbed it."""
        found = dict(sorted(self.opened.items()))
        lowest = np.minimum.accumulate([load.percentile(99) for load in found.values()][::-1])[::-1]
        return dict(zip(found, lowest.tolist(), strict=True))

    def within(self, limit: float) -> str:
        """The rate at which the 99th percentile passes the limit, interpolated between the measured ones."""
        rates, seconds = list(self.latencies()), list(self.latencies().values())
        if not seconds[0] <= limit < seconds[-1]:
            return f"under {rates[0]:g}" if limit < seconds[0] else f"over {rates[-1]:g}"
        return f"{np.interp(limit, seconds, rates):.1f}"


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
        found = [best_closed(options, folder, make, rows) for make, rows in servers(options, folder)]
        open_loops(options, folder, found)
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


def best_closed(options: Options, folder: pathlib.Path, make: Callable[[int], Server], rows: Sequence[int]) -> Measured:
    """A closed loop for each number of rows. The one with most answers is taken."""
    tried = []
    for server in map(make, rows):
        with running(server, folder) as port:
            tried.append(Measured(server, _load(options, server, port, folder, 0.0)))
    return max(tried, key=lambda one: one.closed.rate)


def open_loops(options: Options, folder: pathlib.Path, found: Sequence[Measured]) -> None:
    """Open loops of all servers in turn, while the others wait. One that is overloaded gets no higher rate."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(running(one.server, folder)) for one in found]
        for rate in options.rates:
            for number in range(options.rounds):
                for one, port in list(zip(found, ports, strict=True))[:: -1 if number % 2 else 1]:
                    if any(load.percentile(99) > OVERLOAD * options.limit for load in _below(one, rate)):
                        continue
                    load = _load(options, one.server, port, folder, rate)
                    one.opened[rate] = one.opened[rate] + load if rate in one.opened else load


def _below(one: Measured, rate: float) -> list[Load]:
    return [load for other, load in one.opened.items() if other < rate]


def _load(options: Options, server: Server, port: int, folder: pathlib.Path, rate: float) -> Load:
    found = load(server, port, folder, options.locust, options.clients, options.seconds, rate)
    rows = "" if server.rows is None else f", {server.rows} rows"
    loop = f"open loop, {rate:g}/s" if rate else "closed loop"
    timing.log(f"{server.title}{rows}, {loop}: {', '.join(_shown(found))}")
    return found


HEAD = ("server", "most rows", "loop", "requests/s", "p50, s", "p99, s", "failed", "padding")


def written(options: Options, found: Sequence[Measured]) -> str:
    """A table of the loops, and one of the rates within limits of the latency."""
    rows, limits = [], (options.limit / 2, options.limit, 2 * options.limit)
    for one in found:
        most = "by tokens" if one.server.rows is None else str(one.server.rows)
        rows.append([one.server.title, most, "closed", *_shown(one.closed)])
        rows += [["", "", f"open, {rate:g}/s", *_shown(load)] for rate, load in one.opened.items()]
    best = [[one.server.title, *(one.within(limit) for limit in limits)] for one in found]
    head = ["requests/s of an open loop", *(f"p99 {limit:g} s" for limit in limits)]
    return f"{timing.table(HEAD, rows)}\n{timing.table(head, best)}"


def _shown(load: Load) -> list[str]:
    percentiles = [f"{load.percentile(50):.2f}", f"{load.percentile(99):.2f}"]
    return [f"{load.rate:.1f}", *percentiles, str(load.failed), f"{load.padding_share:.0%}"]


def draw(options: Options, found: Sequence[Measured], path: pathlib.Path) -> None:
    """Rates of the open loops and their latency."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for one in found:
        rates, loads = zip(*sorted(one.opened.items()), strict=True)
        (line,) = axis.plot(rates, [load.percentile(99) for load in loads], marker="o", label=one.server.title)
        axis.plot(rates, [load.percentile(50) for load in loads], marker=".", ls=":", color=line.get_color())
    axis.axhline(options.limit, color="gray", lw=0.8)
    axis.set(xlabel="requests a second (open loop)", ylabel="p99 in seconds (dotted: median)")
    axis.set(xlim=(0, None), ylim=(0, 3 * options.limit))
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    cli.run(main, Options)

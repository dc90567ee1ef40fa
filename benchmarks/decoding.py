"""Decoding: sentences a second beside other toolkits, the SavedModel, the cost of length and of room, and retracing.

python -m benchmarks.decoding --data-dir DIR --opennmt-tf VENV/bin/python --opennmt-py VENV/bin/python

`peers/README.md` describes their environments. A toolkit without an environment is left out.
"""

import contextlib
import dataclasses
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from benchmarks import peer_processes, timing
from keras_seq import cli, decoding, export, tasks, text
from keras_seq.cli import option

PARTS = ("throughput", "export", "length", "room", "retraces")
SEARCHES = {1: "greedy", 5: "beam 5"}


@dataclasses.dataclass(frozen=True)
class Options(timing.Options):
    """Decodes test_2016_flickr with models of random weights that never end by themselves, all to one length."""

    parts: tuple[str, ...] = option(PARTS, "what to measure", choices=PARTS)
    test: str = option("test_2016_flickr", "file of the source language, without its ending")
    length: int = option(20, "tokens of every hypothesis")
    batch_sizes: tuple[int, ...] = option((32, 128), "sentences of a batch")
    opennmt_tf: pathlib.Path | None = option(None, "the Python that has OpenNMT-tf")
    opennmt_py: pathlib.Path | None = option(None, "the Python that has OpenNMT-py")
    ctranslate2: bool = option(True, "CTranslate2, on our Transformer's export")
    lengths: tuple[int, ...] = option((10, 20, 40, 80, 160), "tokens, for the cost of length and of room")
    plot: pathlib.Path | None = option(None, "PNG for the cost of length")
    mixes: int = option(60, "batches of random sizes and lengths, for retracing")


def main(options: Options) -> None:
    timing.prepare(options)
    print(f"{timing.machine()}\n")
    _, subwords = timing.encoded_pairs(options)
    test = timing.folder(options.data_dir) / f"{options.test}.{options.source}"
    lines = test.read_text(encoding="utf-8").splitlines()
    sources = [[*ids, subwords.end_id] for ids in subwords.tokenize(lines).to_list()]
    print(f"{len(sources)} sentences, {np.mean([len(each) for each in sources]):.1f} pieces each\n")
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts:
            if part == "throughput":
                throughput(options, subwords, sources, pathlib.Path(folder))
            elif part == "export":
                exported(options, subwords, lines, pathlib.Path(folder))
            elif part == "length":
                cost_of_length(options, subwords, sources)
            elif part == "room":
                cost_of_room(options, subwords, sources)
            else:
                retraces(options, subwords, sources)


# Beside other toolkits


def throughput(options: Options, subwords: text.Subwords, sources: list[list[int]], folder: pathlib.Path) -> None:
    task = peer_processes.Task(folder / "sources.json", folder, subwords.size, options.length, options.core)
    task.sources.write_text(json.dumps(sources))
    for name in options.models:
        if name == "transformer" and options.ctranslate2:
            model = timing.never_ending(timing.MODELS[name](subwords.size), subwords.end_id)
            export.ctranslate2(model, folder / "ctranslate2", subwords)
            (folder / "pieces.json").write_text(json.dumps(subwords.pieces(range(subwords.size))))
        with started(options, name, task) as running:
            measured = {
                (beams, size): peer_processes.in_turn(running, beams, size, options.length, options.rounds)
                for beams in SEARCHES
                for size in options.batch_sizes
            }
        print(f"**{timing.TITLES[name]}**, sentences per CPU second, {options.length} tokens each\n")
        print(throughput_table(running, measured, options.batch_sizes))


@contextlib.contextmanager
def started(options: Options, name: str, task: peer_processes.Task) -> Iterator[list[peer_processes.Program]]:
    """The programs that have this model, ours first."""
    wanted = [("keras_seq", "ours.py", sys.executable, "")]
    wanted += [("OpenNMT-tf", "opennmt_tf.py", options.opennmt_tf, "")] if options.opennmt_tf else []
    wanted += [("OpenNMT-py", "opennmt_py.py", options.opennmt_py, "")] if options.opennmt_py else []
    if options.ctranslate2 and name == "transformer":
        wanted += [
            (f"CTranslate2 {kind}", "ctranslate2_folder.py", sys.executable, kind) for kind in ("float32", "int8")
        ]
    with contextlib.ExitStack() as stack:
        running = []
        for title, script, python, variant in wanted:
            running.append(peer_processes.Program(title, script, str(python), name, task, variant))
            stack.callback(running[-1].close)
            timing.log(f"{title}: {running[-1].version}")
        yield running


def throughput_table(running: list[peer_processes.Program], measured: Mapping, batch_sizes: tuple[int, ...]) -> str:
    """A row for each program: its speeds, and ours over its speed at the same batches and at each one's best."""
    rows = []
    for program in running:
        row = [program.version]
        for beams in SEARCHES:
            speeds = {size: measured[beams, size] for size in batch_sizes}
            row += [timing.shown(timing.median(found[program.title])) for found in speeds.values()]
            if program is running[0]:
                row += ["-"] * (len(batch_sizes) + 1)
                continue
            row += [peer_processes.ratio(found[running[0].title], found[program.title]) for found in speeds.values()]
            best = [
                peer_processes.best({s: f[each.title] for s, f in speeds.items()}) for each in (running[0], program)
            ]
            row.append(peer_processes.ratio(speeds[best[0]][running[0].title], speeds[best[1]][program.title]))
        rows.append(row)
    head = ["program"]
    for search in SEARCHES.values():
        head += [f"{search}, batch {size}" for size in batch_sizes]
        head += [f"ours / it, {size} (rounds)" for size in batch_sizes] + ["ours / it, each at its best"]
    return timing.table(head, rows)


# What is exported


def exported(options: Options, subwords: text.Subwords, lines: list[str], folder: pathlib.Path) -> None:
    """The SavedModel against the same search in Python, from strings to strings, in turn."""
    rows, batch_size = [], max(options.batch_sizes)
    lines = sorted(lines, key=lambda line: len(subwords.tokenize([line]).to_list()[0]))
    batches = [lines[first : first + batch_size] for first in range(0, len(lines), batch_size)]
    for name in options.models:
        model = timing.never_ending(timing.MODELS[name](subwords.size), subwords.end_id)
        for beams, search in SEARCHES.items():
            task = tasks.Translation(model, subwords, num_beams=beams, max_length=options.length)
            path = export.saved_model(task, folder / "saved", verify=False)
            signature = tf.saved_model.load(path).signatures["translate"]
            compiled = cached(tf.function(reduce_retracing=True, autograph=False))

            def in_python(texts, model=model, beams=beams, compiled=compiled):
                return decoding.generate(
                    model,
                    subwords,
                    texts,
                    num_beams=beams,
                    max_length=options.length,
                    batch_tokens=10**9,
                    compiled=compiled,
                )

            def in_graph(texts, signature=signature):
                return signature(text=tf.constant(texts))["text"].numpy()

            speeds = functions_in_turn({"Python": in_python, "SavedModel": in_graph}, batches, options.rounds)
            middle = {who: timing.shown(timing.median(found)) for who, found in speeds.items()}
            rows.append(
                [
                    timing.TITLES[name],
                    search,
                    *middle.values(),
                    peer_processes.ratio(speeds["SavedModel"], speeds["Python"]),
                ]
            )
    print(f"**The SavedModel**, texts to texts, batches of {batch_size}, sentences per CPU second\n")
    print(timing.table(["model", "search", "in Python", "SavedModel", "SavedModel / Python (rounds)"], rows))


def cached(compiled: Callable) -> Callable:
    """`generate` wraps its function anew at each call; one that keeps the first does not trace again."""
    kept = []

    def wrap(function):
        kept.append(kept[0] if kept else compiled(function))
        return kept[0]

    return wrap


def functions_in_turn(functions: Mapping[str, Callable], batches: list, rounds: int) -> dict[str, list[timing.Speed]]:
    speeds = {name: [] for name in functions}
    for function in functions.values():
        function(batches[0])
        function(batches[-1])
    for number in range(rounds):
        for name in list(functions)[:: -1 if number % 2 else 1]:
            cpu, clock = time.process_time(), time.perf_counter()
            for batch in batches:
                functions[name](batch)
            cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
            count = sum(map(len, batches))
            speeds[name].append(timing.Speed(count / clock, count / cpu))
    return speeds


# The cost of length, and retracing


def compiled_search(model: keras.Model, subwords: text.Subwords, beams: int, constraints: tuple = ()) -> Callable:
    """`(source (B, S), max_length) -> tokens (B, 1, T)`, of one trace for all shapes and lengths."""

    def found(source, max_length):
        ids = {"start_id": subwords.start_id, "end_id": subwords.end_id, "pad_id": subwords.pad_id}
        return decoding.search(
            model, source, max_length=max_length, num_beams=beams, constraints=constraints, **ids
        ).tokens

    return tf.function(
        found, autograph=False, input_signature=[tf.TensorSpec((None, None), "int32"), tf.TensorSpec((), "int32")]
    )


def cost_of_length(options: Options, subwords: text.Subwords, sources: list[list[int]]) -> None:
    curves = costs(options, subwords, sources)
    print(f"**The cost of length**, CPU ms a sentence, batches of {max(options.batch_sizes)}\n")
    print(costs_table(curves, [f"{length} tokens" for length in options.lengths]))
    if options.plot:
        draw(options.lengths, curves, options.plot)


def cost_of_room(options: Options, subwords: text.Subwords, sources: list[list[int]]) -> None:
    """The cost of a `max_length` above the length of the hypotheses."""
    curves = costs(options, subwords, sources, constraints=(decoding.MaxLength(min(options.lengths)),))
    print(f"**The cost of room**, CPU ms a sentence of {min(options.lengths)} tokens, ", end="")
    print(f"batches of {max(options.batch_sizes)}\n")
    print(costs_table(curves, [f"max_length {length}" for length in options.lengths]))


def costs(options: Options, subwords: text.Subwords, sources: list[list[int]], constraints: tuple = ()) -> dict:
    """CPU milliseconds a sentence for each `max_length` of `options.lengths`, by (model, search)."""
    batch_size = max(options.batch_sizes)
    middle = sorted(sources, key=len)[(len(sources) - batch_size) // 2 :][:batch_size]
    source, curves = padded(middle, subwords.pad_id), {}
    for name in options.models:
        model = timing.never_ending(timing.MODELS[name](subwords.size), subwords.end_id)
        for beams, search in SEARCHES.items():
            find = compiled_search(model, subwords, beams, constraints)
            find(source, 2)
            took = {length: [] for length in options.lengths}
            for number in range(options.rounds):
                for length in options.lengths[:: -1 if number % 2 else 1]:
                    cpu = time.process_time()
                    find(source, length).numpy()
                    took[length].append((time.process_time() - cpu) / batch_size * 1e3)
            curves[name, search] = [float(np.median(found)) for found in took.values()]
            timing.log(f"{timing.TITLES[name]} {search} {curves[name, search]}")
    return curves


def costs_table(curves: Mapping, columns: list[str]) -> str:
    rows = [[timing.TITLES[name], search, *(f"{cost:.2f}" for cost in row)] for (name, search), row in curves.items()]
    return timing.table(["model", "search", *columns], rows)


def draw(lengths: tuple[int, ...], curves: Mapping, path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, unit in zip(axes, ("a sentence", "a token"), strict=True):
        for (name, search), costs in curves.items():
            each = costs if unit == "a sentence" else np.divide(costs, lengths)
            axis.plot(lengths, each, marker="o", label=f"{timing.TITLES[name].split(',')[0]}, {search}")
        axis.set(xlabel="tokens of every hypothesis", ylabel=f"CPU ms {unit}", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=110)
    timing.log(f"wrote {path}")


def retraces(options: Options, subwords: text.Subwords, sources: list[list[int]]) -> None:
    """How often a search is traced again, for batches of any size and width and any `max_length`."""
    random = np.random.default_rng(options.seed)
    rows = []
    for name in options.models:
        model = timing.never_ending(timing.MODELS[name](subwords.size), subwords.end_id)
        for beams, search in SEARCHES.items():
            find = compiled_search(model, subwords, beams)
            find(padded(sources[:2], subwords.pad_id), 3)
            before, shapes = find.experimental_get_tracing_count(), set()
            for _ in range(options.mixes):
                chosen = random.choice(len(sources), random.integers(1, 65))
                width = random.integers(0, 30)
                source = padded([sources[i] for i in chosen], subwords.pad_id, width)
                length = int(random.integers(1, 25))
                find(source, length)
                shapes.add((*source.shape, length))
            rows.append([timing.TITLES[name], search, len(shapes), find.experimental_get_tracing_count() - before])
    print("**Retracing** after the first call\n")
    print(timing.table(["model", "search", "different shapes", "traces more"], rows))


def padded(sources: list[list[int]], pad_id: int, width: int = 0) -> tf.Tensor:
    width = max(width, *map(len, sources))
    return tf.constant([[*each, *[pad_id] * (width - len(each))] for each in sources], tf.int32)


if __name__ == "__main__":
    cli.run(main, Options)

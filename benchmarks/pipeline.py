"""The input alone: tokens a second from text to padded batches, and what corpora of growing size cost.

python -m benchmarks.pipeline --data-dir DIR --plot scale.png
"""

import dataclasses
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks import timing
from keras_seq import cli, data, text, training
from keras_seq.cli import option
from keras_seq.data.cache import cached, cached_lengths
from keras_seq.data.parallel_text import ParallelFiles


@dataclasses.dataclass(frozen=True)
class Options:
    """Times the input pipeline without a model, on all cores."""

    parts: tuple[str, ...] = option(("throughput", "scale"), "what to measure", choices=("throughput", "scale"))
    data_dir: pathlib.Path | None = option(None, "folder with train.* of both languages; none: Multi30k, fetched once")
    source: str = option("en", "source language")
    target: str = option("de", "target language")
    vocabulary_size: int = option(8000, "pieces of the joint BPE vocabulary")
    tokens_per_batch: int = option(4096, "rows x the longer padded side")
    shapes: int = option(24, "number of bucket shapes")
    rounds: int = option(5, "how often each pipeline is timed, in turn")
    readers: int | None = option(None, "files of the cache read at a time; none: tf.data decides")
    trained: float = option(3686, "target tokens per CPU second that Transformer-Tiny trains on (benchmarks.training)")
    sizes: tuple[int, ...] = option((100_000, 1_000_000, 10_000_000), "pairs of the generated corpora")
    workers: tuple[int, ...] = option((1, 2, 4, 8), "numbers of workers that the corpus of 12 million pairs is for")
    plot: pathlib.Path | None = option(None, "PNG for the curves over the sizes")
    folder: pathlib.Path | None = option(None, "where the corpora are generated; none: a temporary folder")
    seed: int = option(1, "of the order and the generated text")
    measured: int | None = option(None, "used by the program itself: measures one corpus in `folder`")


def main(options: Options) -> None:
    training.keep_freed_memory()
    if options.measured is not None:
        print(json.dumps(measure(options)))
        return
    print(f"{timing.machine()}; {len(os.sched_getaffinity(0))} cores\n")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if "throughput" in options.parts:
            throughput(options, pathlib.Path(folder))
        if "scale" in options.parts:
            scale(options, pathlib.Path(folder))


# Throughput: each step added in turn.


class Cost(NamedTuple):
    """Of one pass: seconds of the clock, and of the processor, which counts all cores and leaves out other programs."""

    clock: float
    cpu: float


def throughput(options: Options, folder: pathlib.Path) -> None:
    corpus = timing.folder(options.data_dir)
    files = ParallelFiles(*(corpus / f"train.{side}" for side in (options.source, options.target)))
    timing.log("learning the vocabulary")
    subwords = text.Subwords.train(files.dataset(), options.vocabulary_size)
    keep = cached(folder / "cache", num_readers=options.readers)
    start = time.perf_counter()
    from_cache = files.dataset().apply(subwords.encoded()).apply(keep)
    timing.log(f"cache of {from_cache.cardinality():,} pairs written in {time.perf_counter() - start:.1f} s")
    lengths = cached_lengths(folder / "cache")
    buckets = data.fit_buckets(lengths, options.shapes)

    start = time.perf_counter()
    in_memory = data.InMemory.from_cache(folder / "cache")
    timing.log(f"the cache read into memory in {time.perf_counter() - start:.1f} s")

    steps = {
        "shuffled": data.shuffled(options.seed),
        "subwords": subwords.encoded(),
        "bucketed, padded": data.bucketed(options.tokens_per_batch, buckets=buckets),
        "gathered, padded": data.bucketed(options.tokens_per_batch, buckets=buckets, examples=in_memory),
        "teacher forcing": data.teacher_forcing(subwords.start_id, subwords.pad_id),
    }
    pipelines = {  # beginning -> dataset, and the steps that do not apply
        "text, read and checked": (files.dataset(), {"gathered, padded"}),
        "the cache, read": (from_cache, {"subwords", "gathered, padded"}),
        "memory, numbers": (in_memory.numbers(), {"subwords", "bucketed, padded"}),
    }
    rows = {}  # pipeline -> its steps so far
    for begin, (dataset, left_out) in pipelines.items():
        rows[begin] = dataset
        for name in [name for name in steps if name not in left_out]:
            dataset = dataset.apply(steps[name])
            rows[f"{begin[: begin.index(',')]} + {name}"] = dataset
    costs = {name: [] for name in rows}
    for number in range(options.rounds + 1):
        for name in list(rows)[:: -1 if number % 2 else 1]:
            costs[name].append(drained(rows[name]))
        timing.log(f"round {number}" + (" (warms up, not counted)" if number == 0 else ""))
    padding = data.padding(rows["text + teacher forcing"], subwords.pad_id)
    print(
        f"{len(lengths):,} pairs, {lengths.sum():,} tokens of source and target; batches of {options.tokens_per_batch} "
        f"tokens, {len(buckets)} shapes, padding {padding:.1%}\n"
    )
    print(throughput_table(costs, lengths, options.trained))


def throughput_table(costs: dict[str, list[Cost]], lengths: np.ndarray, trained: float) -> str:
    table, before = [], 0.0
    for name, each in costs.items():
        each = each[1:]
        cpu = statistics.median(cost.cpu for cost in each)
        begins = "," in name.split(" + ")[0]
        table.append(
            [
                name,
                f"{lengths.sum() / statistics.median(cost.clock for cost in each):,.0f}",
                f"{lengths.sum() / cpu:,.0f}",
                f"{1e6 * cpu / len(lengths):.1f}",
                f"{1e6 * (cpu - (0 if begins else before)) / len(lengths):.1f}",
                timing.spread([lengths.sum() / cost.clock / 1000 for cost in each]),
                f"{lengths[:, 1].sum() / cpu / trained:.0f}",
            ]
        )
        before = cpu
    head = ["pipeline", "tokens a second", "tokens per CPU second", "CPU us a pair", "of this step"]
    return timing.table([*head, "thousand tokens a second (rounds)", "times what Transformer-Tiny trains on"], table)


def drained(dataset: tf.data.Dataset) -> Cost:
    """One pass. Single examples are counted off a thousand at a time: to hand each to Python would cost more."""
    if tf.nest.flatten(dataset.element_spec)[0].shape.rank < 2:
        dataset = dataset.window(1000)
    start, cpu_start = time.perf_counter(), time.process_time()
    consume(dataset)
    return Cost(time.perf_counter() - start, time.process_time() - cpu_start)


def consume(dataset: Iterable) -> int:
    return sum(1 for _ in dataset)


# Scale: generated corpora, a process for each.

POOL = 50_000  # different pairs; lines that come again are tokenized again
SAMPLE = 20_000  # pairs that the buckets are fitted to
PAPER = 12_000_000  # pairs of the subset of WMT'14 English-French in Sutskever et al. 2014, arXiv:1409.3215


def scale(options: Options, folder: pathlib.Path) -> None:
    sources, targets = pool(options.seed)
    timing.log("learning the vocabulary")
    lines = [line.decode() for line in (*sources, *targets)]
    text.Subwords.train(lines, options.vocabulary_size, hard_vocab_limit=False).save(folder / "subwords.spm")
    found = []
    for size in options.sizes:
        seconds = time.perf_counter()
        write_corpus(folder, size, sources, targets, options.seed)
        megabytes = sum(path.stat().st_size for path in folder.glob("corpus.*")) / 1e6
        timing.log(f"{size:,} pairs, {megabytes:,.0f} MB, written in {time.perf_counter() - seconds:.0f} s")
        found.append({"megabytes": megabytes, **in_a_process(options, folder, size)})
        timing.log(json.dumps(found[-1]))
    print(scale_table(found))
    print(workers_table(found[-1], options.workers))
    if options.plot:
        draw(found, options.plot)


def pool(seed: int) -> tuple[list[bytes], list[bytes]]:
    """Pairs of lines: made-up words as frequent as Zipf has it, log-normal lengths, about as long on both sides."""
    generator = np.random.default_rng(seed)
    syllables = [a + b for a in "bdfgklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "st", "ü")]
    words = ["".join(generator.choice(syllables, generator.integers(1, 5))) for _ in range(20_000)]
    shares = 1 / np.arange(10, len(words) + 10)
    counts = np.exp(generator.normal(np.log(20), 0.5, POOL))
    sides = []
    for side in (counts, counts * np.exp(generator.normal(0, 0.15, POOL))):
        side = np.clip(side.round(), 1, 100).astype(int)
        drawn = iter(generator.choice(len(words), side.sum(), p=shares / shares.sum()))
        sides.append([" ".join(words[next(drawn)] for _ in range(count)).capitalize().encode() for count in side])
    return sides[0], sides[1]


def write_corpus(folder: pathlib.Path, size: int, sources: list[bytes], targets: list[bytes], seed: int) -> None:
    generator = np.random.default_rng((seed, size))
    with (folder / "corpus.source").open("wb") as source, (folder / "corpus.target").open("wb") as target:
        for begin in range(0, size, 100_000):
            chosen = generator.integers(0, len(sources), min(100_000, size - begin)).tolist()
            for file, side in ((source, sources), (target, targets)):
                file.write(b"\n".join([side[i] for i in chosen]) + b"\n")


def in_a_process(options: Options, folder: pathlib.Path, size: int) -> dict:
    flags = ["--measured", size, "--folder", folder, "--shapes", options.shapes]
    flags += ["--tokens-per-batch", options.tokens_per_batch, "--seed", options.seed]
    command = [sys.executable, "-m", "benchmarks.pipeline", *map(str, flags)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def measure(options: Options) -> dict:
    """Streams the corpus in `folder` once, from text to batches ready for training. Memory as the system counts it."""
    subwords = text.Subwords.load(options.folder / "subwords.spm")
    before = peak_memory()
    start, cpu_start = time.perf_counter(), time.process_time()
    files = ParallelFiles(options.folder / "corpus.source", options.folder / "corpus.target")
    opened = time.perf_counter() - start
    sample = files.dataset().take(SAMPLE).apply(subwords.encoded())
    buckets = data.fit_buckets(data.lengths(sample), options.shapes)
    # Strings are shuffled and not ids: the first batch then need not wait until a whole buffer is tokenized.
    batches = files.dataset().apply(data.shuffled(options.seed)).apply(subwords.encoded())
    batches = batches.apply(data.bucketed(options.tokens_per_batch, buckets=buckets))
    batches = batches.apply(data.teacher_forcing(subwords.start_id, subwords.pad_id))
    first, count, tokens = None, 0, 0
    for inputs, _, weights in batches:
        first = time.perf_counter() - start if first is None else first
        count += len(weights)
        tokens += int(np.count_nonzero(inputs["source"])) + int(np.count_nonzero(weights))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    if count != options.measured:
        raise ValueError(f"{options.measured:,} pairs were written and {count:,} came.")
    reading = drained(files.dataset().take(200_000)).clock / min(200_000, count)
    return {
        "pairs": count,
        "tokens": tokens,
        "opened": opened,
        "first": first,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "reading": reading,
        "peak": peak_memory(),
        "before": before,
    }


def peak_memory() -> float:
    """The most resident memory of this process so far, in MB."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # Linux's getrusage counts what the parent held when it started this process
        return next(int(line.split()[1]) / 1e3 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def scale_table(found: list[dict]) -> str:
    rows = [
        [
            f"{each['pairs']:,}",
            f"{each['megabytes']:,.0f}",
            f"{each['tokens'] / each['pairs']:.0f}",
            f"{each['opened']:.1f}",
            f"{each['first']:.1f}",
            f"{1e6 * (each['seconds'] - each['first']) / each['pairs']:.1f}",
            f"{1e6 * each['cpu_seconds'] / each['pairs']:.1f}",
            f"{each['tokens'] / each['seconds']:,.0f}",
            f"{each['before']:,.0f}",
            f"{each['peak']:,.0f}",
        ]
        for each in found
    ]
    head = ["pairs", "MB of text", "tokens a pair", "seconds to open and check", "to the first batch"]
    head += ["then us an example", "CPU us an example", "tokens a second", "MB at the start", "peak MB"]
    return timing.table(head, rows)


def workers_table(largest: dict, workers: Iterable[int]) -> str:
    """Each worker reads all text and does the rest of the work for its share: reckoned from the largest corpus."""
    each, tokens = largest["seconds"] / largest["pairs"], largest["tokens"] / largest["pairs"]
    rows = []
    for number in workers:
        seconds = PAPER * (largest["reading"] + (each - largest["reading"]) / number)
        rows.append([number, f"{seconds / 60:,.1f}", f"{PAPER * tokens / seconds:,.0f}"])
    head = [f"workers, {PAPER:,} pairs", "minutes an epoch, the input alone", "tokens a second, all together"]
    return timing.table(head, rows)


def draw(found: list[dict], path: pathlib.Path) -> None:
    import matplotlib.pyplot as plt

    curves = {
        "seconds to the first batch": [each["first"] for each in found],
        "us an example": [1e6 * (each["seconds"] - each["first"]) / each["pairs"] for each in found],
        "peak memory, MB": [each["peak"] for each in found],
    }
    figure, axes = plt.subplots(1, len(curves), figsize=(11, 3.2), layout="constrained")
    for axis, (title, values) in zip(axes, curves.items(), strict=True):
        axis.plot([each["pairs"] for each in found], values, marker="o")
        axis.set(title=title, xlabel="pairs", xscale="log", ylim=(0, 1.25 * max(values)))
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    cli.run(main, Options)

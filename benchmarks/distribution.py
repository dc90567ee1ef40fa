"""What distribution and checkpoints cost: on one device, on workers of this machine, and by a model on many hosts.

python -m benchmarks.distribution --data-dir DIR
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from benchmarks import scaling, timing
from keras_seq import cli, data, distribution, losses, training
from keras_seq.cli import option

PARTS = ("step", "checkpoint", "workers", "estimate")
_PER_CALL = 10  # scalar all-reduces, each of what the one before gave


@dataclasses.dataclass(frozen=True)
class Options(scaling.GPUs, timing.Options):
    """Times the scope on one device, checkpoints and the workers of one machine, and estimates many hosts."""

    parts: tuple[str, ...] = option(PARTS, "what to measure", choices=PARTS)
    tokens_per_batch: int = option(1024, "rows x the longer padded side; the fewer, the more the fixed costs show")
    shapes: int = option(40, "number of bucket shapes")
    every: int = option(76, "takes each so-many-th batch of an epoch, the same ones each round")
    saves: int = option(7, "how often each checkpoint is saved and restored")
    worker_model: Literal["transformer", "lstm"] = option("transformer", "the model of the part `workers`")
    worker_limit: float = option(300, "seconds after which workers that hang are killed")
    worker: pathlib.Path | None = option(None, "used by the program itself: is one worker, whose job is in this folder")


class Cost(NamedTuple):
    """Seconds of the processor, which others do not take, and of the clock."""

    cpu: float
    clock: float

    def __truediv__(self, number: float) -> "Cost":
        return Cost(self.cpu / number, self.clock / number)


def main(options: Options) -> None:
    if options.worker is not None:
        work(options.worker)
        return
    cores = os.sched_getaffinity(0)
    timing.prepare(options)
    print(f"{timing.machine()}; {len(cores)} cores for the workers\n")
    if set(options.parts) - {"estimate"}:
        pairs, subwords = timing.encoded_pairs(options)
        buckets = data.fit_buckets(data.lengths(pairs), options.shapes)
        bucketed = data.bucketed(options.tokens_per_batch, buckets=buckets)
        epoch = pairs.apply(data.shuffled(options.seed)).apply(bucketed).shard(options.every, 0)
        epoch = timing.Epoch(epoch.apply(data.teacher_forcing(subwords.start_id, subwords.pad_id)))
        print(
            f"{len(epoch)} batches of {options.tokens_per_batch} tokens, {epoch.target_tokens / len(epoch):,.0f} "
            f"target tokens each, padding {epoch.padding:.1%}\n"
        )
        if "step" in options.parts:
            one_device(options, epoch, subwords.size)
        if "checkpoint" in options.parts:
            checkpoints(options, epoch, subwords.size)
        if "workers" in options.parts:
            workers(options, epoch, subwords.size, cores)
    if "estimate" in options.parts:
        scaling.estimate(options)


# One device


def one_device(options: Options, epoch: timing.Epoch, vocabulary_size: int) -> None:
    rows = []
    for name in options.models:
        plain = timing.compiled(timing.MODELS[name](vocabulary_size), losses.TokenCrossentropy())
        with distribution.scope("one_device"):
            ours = timing.compiled(timing.MODELS[name](vocabulary_size), losses.TokenCrossentropy())
        costs = in_turn({"plain": (plain, epoch.dataset), "scope": (ours, epoch.dataset)}, options.rounds, name)
        pairs = list(zip(costs["scope"], costs["plain"], strict=True))
        ratios = [spread([getattr(o, kind) / getattr(p, kind) for o, p in pairs], 3) for kind in Cost._fields]
        rows.append([timing.TITLES[name], *(shown(median(costs[who])) for who in ("scope", "plain")), *ratios])
    print("**A step on one device**, CPU milliseconds (by the clock)\n")
    head = ["model", 'in `scope("one_device")`', "Keras alone", "scope / alone, CPU (rounds)", "by the clock (rounds)"]
    print(timing.table(head, rows))


def in_turn(
    programs: Mapping[str, tuple[keras.Model, tf.data.Dataset]], rounds: int, title: str
) -> dict[str, list[Cost]]:
    """What a step of `fit` costs, each program after the other, `rounds` times, the order reversed each time; before
    that, all of them train once on all of their batches."""
    for model, batches in programs.values():
        model.fit(batches, shuffle=False, verbose=0)
    timing.log(f"{title}: traced and warm")
    costs = {name: [] for name in programs}
    for number in range(rounds):
        for name in list(programs)[:: -1 if number % 2 else 1]:
            model, batches = programs[name]
            with stopwatch() as took:
                model.fit(batches, shuffle=False, verbose=0)
            costs[name].append(took() / int(batches.cardinality()))
        each = ", ".join(f"{name} {shown(costs[name][-1])}" for name in programs)
        timing.log(f"{title}, round {number + 1}, ms a step: {each}")
    return costs


@contextlib.contextmanager
def stopwatch() -> Iterator[Callable[[], Cost]]:
    """Gives a function that tells, afterwards, what the block took."""
    start = Cost(time.process_time(), time.perf_counter())
    end = []
    yield lambda: Cost(*(last - first for first, last in zip(start, end[0], strict=True)))
    end.append(Cost(time.process_time(), time.perf_counter()))


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(*map(statistics.median, zip(*costs, strict=True)))


def shown(cost: Cost, digits: int = 1) -> str:
    """In milliseconds."""
    return f"{cost.cpu * 1e3:,.{digits}f} ({cost.clock * 1e3:,.{digits}f})"


def milliseconds(values: Sequence[float], digits: int = 1) -> str:
    return spread([value * 1e3 for value in values], digits)


def spread(values: Sequence[float], digits: int) -> str:
    """The median, and the extremes beside it."""
    middle, least, most = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


# Checkpoints


def checkpoints(options: Options, epoch: timing.Epoch, vocabulary_size: int) -> None:
    rows = []
    for name in options.models:
        model = timing.compiled(timing.MODELS[name](vocabulary_size), losses.TokenCrossentropy())
        model.fit(epoch.dataset.take(1), verbose=0)
        with tempfile.TemporaryDirectory() as folder:
            saved = training.Checkpoints(folder, keep=1)
            saves, inside, restores = [], [], []
            for number in range(1, options.saves + 1):
                with stopwatch() as took:
                    path = saved.save(model, number, {"loss": 1.0})
                saves.append(took())
                size = path.stat().st_size
                with stopwatch() as took:
                    saved.restore(model)
                restores.append(took())
                with stopwatch() as took:
                    saved.save(model, number, step=1)
                inside.append(took())
        numbers = sum(int(np.prod(variable.shape)) for variable in (*model.weights, *model.optimizer.variables))
        costs = [
            f"{median(each).cpu * 1e3:,.0f}; {milliseconds([cost.clock for cost in each], 0)}"
            for each in (saves, inside, restores)
        ]
        sizes = [f"{model.count_params():,}", f"{size / 1e6:.1f}", f"{size / numbers:.2f}"]
        rows.append([timing.TITLES[name], *sizes, *costs])
    print("**Checkpoints**: milliseconds of the CPU; by the clock (each time)\n")
    head = ["model", "weights", "MB", "bytes of each number", "save after an epoch", "inside one", "restore"]
    print(timing.table(head, rows))


# Workers


def workers(options: Options, epoch: timing.Epoch, vocabulary_size: int, cores: set[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        epoch.dataset.save(str(folder / "batches"))
        job = {key: getattr(options, key) for key in ("worker_model", "rounds", "seed", "keep_freed_memory")}
        (folder / "job.json").write_text(json.dumps(job | {"vocabulary_size": vocabulary_size}))
        found = {count: launched(options, folder, count, cores) for count in (1, 2, 4)}
    print(
        f"**Workers of this machine**, {timing.TITLES[options.worker_model]}, over the loopback. They share "
        f"{len(cores)} cores: what is compared is the CPU time of all workers together, for a step of all.\n"
    )
    rows = []
    for count, job in found.items():
        differences = [
            with_tokens.cpu - without.cpu for with_tokens, without in zip(job["tokens"], job["no tokens"], strict=True)
        ]
        all_reduce = ["none is made", "-", "-"]
        if alone := job.get("all-reduce"):
            all_reduce = [milliseconds([getattr(cost, kind) for cost in alone], 2) for kind in Cost._fields]
            all_reduce.append(f"{median(alone).clock / median(job['tokens']).clock:.2%}")
        rows.append(
            [
                count,
                *(shown(median(job[name])) for name in ("tokens", "no tokens")),
                milliseconds(differences),
                *all_reduce,
            ]
        )
    head = ["workers", "a step, ms of CPU (clock)", "without the tokens' all-reduce", "difference, CPU (rounds)"]
    head += ["a scalar all-reduce alone, ms of CPU (rounds)", "by the clock (rounds)", "of a step, clock"]
    print(timing.table(head, rows))
    four_from_two(found)


def four_from_two(found: Mapping[int, Mapping]) -> None:
    """Fits one and two workers, round by round, and lays the prediction for four beside what was measured."""
    gradient_bytes = found[1]["gradient bytes"]
    one, half, two, four = (
        [cost.cpu for cost in costs]
        for costs in (found[1]["tokens"], found[1]["half"], found[2]["tokens"], found[4]["tokens"])
    )
    models = [scaling.fitted(*costs, gradient_bytes) for costs in zip(one, half, two, strict=True)]
    middle = scaling.fitted(*map(statistics.median, (one, half, two)), gradient_bytes)
    predicted = [4 * model.seconds(4) for model in models]
    foretold = 4 * middle.seconds(4)
    clock = median(found[2]["tokens"]).clock / median(found[2]["tokens"]).cpu * foretold
    measured = median(found[4]["tokens"])
    print("Fitted to 1 worker, with whole and with half batches, and to 2:\n")
    per_gigabyte = [model.per_byte * 1e9 for model in models]
    rows = [
        ["compute of a whole batch, ms", milliseconds([model.compute for model in models])],
        ["fixed part of each worker, ms", milliseconds([model.fixed for model in models])],
        ["bytes of the gradients", f"{gradient_bytes:,}"],
        ["a byte sent and received, CPU seconds per GB", spread(per_gigabyte, 2)],
        ["4 workers together, predicted, ms of CPU a step (rounds)", milliseconds(predicted)],
        ["the same from the medians (by the clock, the cores as busy as with 2)", shown(Cost(foretold, clock))],
        ["4 workers together, measured, ms of CPU (rounds)", milliseconds(four)],
        ["measured (by the clock)", shown(measured)],
        ["measured / predicted, CPU; by the clock", f"{measured.cpu / foretold:.2f}; {measured.clock / clock:.2f}"],
    ]
    print(timing.table(["part", "found"], rows))


def launched(options: Options, folder: pathlib.Path, count: int, cores: set[int]) -> dict:
    """What so many workers found: costs of all together, by the clock of the first; the median of an all-reduce."""
    timing.log(f"{count} workers")
    command = [sys.executable, "-m", "keras_seq.distribution.launch", "--workers", str(count), "--"]
    command += [sys.executable, "-m", "benchmarks.distribution", "--worker", str(folder)]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # a process starts with the cores of the thread that starts it
    try:
        # The workers' output is progress; in a benchmark tables alone go to standard output.
        subprocess.run(command, env=environment, stdout=sys.stderr, timeout=options.worker_limit, check=True)
    finally:
        os.sched_setaffinity(0, own)
    reports = [json.loads((folder / f"{count}-{rank}.json").read_text()) for rank in range(count)]
    costs = {
        name: [
            Cost(sum(cpu for cpu, _ in each), each[0][1])
            for each in zip(*(report["costs"][name] for report in reports), strict=True)
        ]
        for name in reports[0]["costs"]
    }
    return costs | {"gradient bytes": reports[0]["gradient bytes"]}


def work(folder: pathlib.Path) -> None:
    """Is one worker: times its part and leaves what it found in the folder."""
    job = json.loads((folder / "job.json").read_text())
    if job["keep_freed_memory"]:
        training.keep_freed_memory()
    scope = distribution.scope("multi_worker_mirrored")
    keras.utils.set_random_seed(job["seed"])
    batches = tf.data.Dataset.load(str(folder / "batches")).cache()
    length = int(batches.cardinality())
    programs = {}
    for name, loss in {"tokens": losses.TokenCrossentropy(), "no tokens": ScaledSum()}.items():
        with scope:
            model = timing.compiled(timing.MODELS[job["worker_model"]](job["vocabulary_size"]), loss)
        programs[name] = model, batches
    if scope.workers == 1:
        halves = batches.map(lambda *batch: tf.nest.map_structure(lambda x: x[: tf.shape(x)[0] // 2], batch)).cache()
        halves = halves.apply(tf.data.experimental.assert_cardinality(length))
        programs["half"] = programs["tokens"][0], halves
    rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    costs = in_turn(programs, job["rounds"], f"worker {rank} of {scope.workers}")
    if scope.workers > 1:
        costs["all-reduce"] = scalar_all_reduce(scope, job["rounds"])
    gradient_bytes = sum(4 * int(np.prod(weight.shape)) for weight in model.trainable_weights)
    report = {"costs": costs, "gradient bytes": gradient_bytes}
    (folder / f"{scope.workers}-{rank}.json").write_text(json.dumps(report))
    scope.any_worker(True)  # the first one serves the others, and stays until all are done


class ScaledSum(keras.losses.Loss):
    """The loss summed and divided by a constant, for which no tokens are added up."""

    def __init__(self):
        super().__init__(reduction="sum")

    def call(self, y_true, y_pred):
        return losses.token_crossentropy(y_true, y_pred) / 1000.0


def scalar_all_reduce(scope: distribution.scope, rounds: int, calls: int = 50) -> list[Cost]:
    """What one all-reduce of a scalar costs: a function with some, one after the other, less a function without."""

    def chain(length: int) -> Callable:
        def each():
            context, x = tf.distribute.get_replica_context(), tf.ones(())
            for _ in range(length):
                x = context.all_reduce(tf.distribute.ReduceOp.SUM, x) / context.num_replicas_in_sync
            return x

        return tf.function(lambda: scope.strategy.run(each))

    functions = {length: chain(length) for length in (0, _PER_CALL)}
    found = []
    for number in range(rounds + 1):
        took = {}
        for length, function in functions.items():
            with stopwatch() as seconds:
                for _ in range(calls):
                    float(scope.strategy.experimental_local_results(function())[0])
            took[length] = seconds() / (calls * _PER_CALL)
        if number:  # the first round traces
            found.append(Cost(*(long - short for long, short in zip(took[_PER_CALL], took[0], strict=True))))
    return found


if __name__ == "__main__":
    cli.run(main, Options)

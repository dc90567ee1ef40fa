"""Bucketed batches against random ones: how much faster the same model trains.

python -m benchmarks.bucketing --data-dir DIR
"""

import dataclasses

import keras

from benchmarks import timing
from keras_seq import cli, data, losses
from keras_seq.cli import option


@dataclasses.dataclass(frozen=True)
class Options(timing.Options):
    """Trains the same model on random padded batches and on bucketed ones, in turn."""

    rows: int = option(128, "pairs in a random batch")
    shapes: tuple[int, ...] = option((40, 24), "numbers of bucket shapes; the first is timed, the others counted")


def main(options: Options) -> None:
    timing.prepare(options)
    pairs, subwords = timing.encoded_pairs(options)
    lengths = data.lengths(pairs)
    forced = data.teacher_forcing(subwords.start_id, subwords.pad_id)
    shuffled = pairs.apply(data.shuffled(options.seed))

    epochs = {"random": timing.Epoch(shuffled.padded_batch(options.rows, ([None], [None])).apply(forced))}
    budgets = {}
    for shapes in options.shapes:
        buckets = data.fit_buckets(lengths, shapes)
        budgets[shapes] = budget_for(len(epochs["random"]), lengths, buckets)
        batches = shuffled.apply(data.bucketed(budgets[shapes], buckets=buckets))
        epochs[shapes] = timing.Epoch(batches.apply(forced))
    print(timing.machine() + "\n")
    print(positions_table(epochs, budgets, options))

    rows = []
    for name in options.models:
        models = {
            kind: timing.compiled(timing.MODELS[name](subwords.size), losses.TokenCrossentropy())
            for kind in ("random", "bucketed")
        }
        programs = {"random": (models["random"], epochs["random"])}
        programs["bucketed"] = (models["bucketed"], epochs[options.shapes[0]])
        speeds = timing.train_in_turn(programs, options)
        middle = {kind: timing.median(speeds[kind]) for kind in speeds}
        rows.append(
            [
                timing.TITLES[name],
                *(timing.shown(middle[kind]) for kind in ("random", "bucketed")),
                *timing.ratios(speeds["bucketed"], speeds["random"]),
                f"{with_input(middle, programs):.2f}",
                f"{epochs['random'].positions / epochs[options.shapes[0]].positions:.2f}",
            ]
        )
        keras.backend.clear_session()
    head = [
        "target tokens per CPU second (per second)",
        f"random, {options.rows} pairs",
        f"bucketed, {options.shapes[0]} shapes",
        "times as fast, CPU (rounds)",
        "by the clock (rounds)",
        "with the input's cost",
        "ratio of positions",
    ]
    print(timing.table(head, rows))


def budget_for(count: int, lengths, buckets) -> int:
    """The budget of tokens that makes about so many batches of an epoch: as many updates, as many tokens in each."""
    low, high = 1, 1_000_000
    while low < high:
        middle = (low + high) // 2
        if data.count_batches(lengths, buckets, middle) > count:
            low = middle + 1
        else:
            high = middle
    return low


def positions_table(epochs, budgets, options: Options) -> str:
    rows = []
    for name, epoch in epochs.items():
        bucketed = name in budgets
        rows.append(
            [
                f"bucketed, {name} shapes, {budgets[name]} tokens" if bucketed else f"random, {options.rows} pairs",
                f"{len(epoch):,}",
                f"{epoch.target_tokens / len(epoch):,.0f}",
                f"{epoch.positions:,}",
                f"{epoch.padding:.1%}",
                f"{epochs['random'].positions / epoch.positions:.2f}",
                f"{epoch.cpu_seconds:.1f}",
            ]
        )
    head = ["batches of an epoch", "batches", "target tokens each", "positions", "padding", "fewer positions"]
    return timing.table([*head, "CPU seconds to make"], rows)


def with_input(middle, programs) -> float:
    """The ratio of the speeds when the input is made on the same core, each batch as it is needed."""

    def cost(kind):
        epoch = programs[kind][1]
        return 1 / middle[kind].cpu + epoch.cpu_seconds / epoch.target_tokens

    return cost("random") / cost("bucketed")


if __name__ == "__main__":
    cli.run(main, Options)

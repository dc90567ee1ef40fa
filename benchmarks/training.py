"""Training throughput: our models against the same ones from plain Keras layers, in one pipeline.

python -m benchmarks.training --data-dir DIR
"""

import dataclasses

import keras

from benchmarks import plain_keras, profile, timing
from keras_seq import cli, data, losses
from keras_seq.cli import option

# Target tokens per CPU second of one core: Multi30k En-De, joint 8k BPE. Measured earlier on a machine of this kind.
PEERS = {
    "OpenNMT-tf 2.32 (TensorFlow 2.13)": {"transformer": "1,808", "lstm": "1,151"},
    "OpenNMT-py 3.5 (torch)": {"transformer": "1,871", "lstm": "1,332"},
    "Sockeye 3.1 (torch)": {"transformer": "about 1,620", "lstm": "-"},
    "JoeyNMT 2.3 (torch)": {"transformer": "815", "lstm": "567"},
}


@dataclasses.dataclass(frozen=True)
class Options(timing.Options):
    """Trains our models and the same models from plain Keras layers on the same batches, in turn."""

    tokens_per_batch: int = option(4096, "rows x the longer padded side")
    shapes: int = option(40, "number of bucket shapes")
    profiled: int = option(4, "batches that TensorFlow's profiler looks at; 0 for none")


def main(options: Options) -> None:
    timing.prepare(options)
    pairs, subwords = timing.encoded_pairs(options)
    buckets = data.fit_buckets(data.lengths(pairs), options.shapes)
    batches = pairs.apply(data.shuffled(options.seed)).apply(data.bucketed(options.tokens_per_batch, buckets=buckets))
    epoch = timing.Epoch(batches.apply(data.teacher_forcing(subwords.start_id, subwords.pad_id)))
    print(
        f"{timing.machine()}\n\n{len(epoch)} batches of {options.tokens_per_batch} tokens, "
        f"{epoch.target_tokens / len(epoch):,.0f} target tokens each, padding {epoch.padding:.1%}\n"
    )

    rows, shared = [], {}
    for name in options.models:
        ours = timing.compiled(timing.MODELS[name](subwords.size), losses.TokenCrossentropy())
        plain = timing.compiled(
            getattr(plain_keras, name)(subwords.size, dropout=timing.DROPOUT),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        speeds = timing.train_in_turn({"ours": (ours, epoch), "plain Keras": (plain, epoch)}, options)
        middle = {who: timing.median(speeds[who]) for who in speeds}
        rows.append(
            [
                timing.TITLES[name],
                *map(timing.shown, middle.values()),
                *timing.ratios(speeds["ours"], speeds["plain Keras"]),
                *(peer[name] for peer in PEERS.values()),
            ]
        )
        if options.profiled:
            sample, _ = epoch.sample(max(1, len(epoch) // options.profiled), 0)
            for who, model in {"ours": ours, "plain Keras": plain}.items():
                shared[name, who] = profile.seconds_by_operation(model, sample)
    head = ["target tokens per CPU second (per second)", "ours", "plain Keras"]
    head += ["ours / plain, CPU (rounds)", "by the clock (rounds)", *(f"{peer} *" for peer in PEERS)]
    print(timing.table(head, rows))
    print("* measured earlier on a machine of this kind, not in this run; target tokens per CPU second\n")

    if shared:
        ours = {name: seconds for name, seconds in shared.items() if name[1] == "ours"}
        print(shares_table("part of a step", ours, profile.PARTS))
        print(shares_table("kind of operation", shared, profile.KINDS))


def shares_table(title: str, seconds: dict, patterns: dict[str, str]) -> str:
    """Milliseconds would differ from run to run; what is compared is the time that all operations took together."""
    found = [profile.shares(each, patterns) for each in seconds.values()]
    names = [name for name in [*patterns, "other"] if any(name in shares for shares in found)]
    rows = [[name, *(f"{shares.get(name, 0):.1%}" for shares in found)] for name in names]
    rows.append(["all operations, seconds", *(f"{sum(each.values()):.2f}" for each in seconds.values())])
    return timing.table([title, *(f"{timing.TITLES[name]}, {who}" for name, who in seconds)], rows)


if __name__ == "__main__":
    cli.run(main, Options)

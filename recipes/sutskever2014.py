"""Sequence to Sequence Learning with Neural Networks (Sutskever, Vinyals and Le 2014), section by section.

    python -m recipes.sutskever2014                                        small, number names, 2 minutes
    python -m recipes.sutskever2014 --data-dir DIR --source en --target fr    small, DIR/train.en, DIR/train.fr, ...
    python -m recipes.sutskever2014 --size paper --data-dir DIR --stream   the paper's model: 384M parameters
    python -m recipes.sutskever2014 --size paper --dry-run                 its parameters, memory, FLOP and time
    python -m recipes.sutskever2014 --data-dir DIR --findings all          what the paper found, at the small size

docs/sutskever2014.md has the paper's numbers beside ours. Run the same command again to resume an interrupted run.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import Literal

from keras_seq import cli, experiment
from keras_seq.cli import option, table
from keras_seq.experiment import preset
from keras_seq.lazy import (
    cost,
    data,
    decoding,
    hardware,
    keras,
    losses,
    metrics,
    models,
    optimizers,
    scores,
    tasks,
    text,
    tf,
    tuning,
)

from . import translation
from .findings import NAMES
from .synthetic import number_names

BATCHES_SHUFFLED = 1_000  # batches held in memory: partial ones come last, and must not end the epoch together
LONGEST = 200  # tokens of a translation: a served model must stop on any text

PAPER_CORPUS = 12_000_000, 304_000_000, 348_000_000  # 3.1: pairs, English words, French words

# Section 3.4: after 5 of 7.5 epochs the rate is halved every half epoch, which is after 10, 11, ... of 15 parts.
PARTS, HALVED_AFTER = 15, range(10, 15)


@dataclasses.dataclass(frozen=True)
class Options(experiment.ParallelTextFlags, experiment.Options):
    """Trains the deep LSTM of Sutskever et al. 2014, translates by beam search, and checks the paper's findings."""

    size: Literal["small", "paper"] = option("small", "preset of the sizes: those of the paper, or for a few cores")
    dry_run: bool = option(False, "table of parameters, memory, FLOP and time, without training")
    findings: tuple[str, ...] = option(
        (), "findings of the paper to check (docs/sutskever2014.md)", choices=(*NAMES, "all")
    )
    seeds: int = option(3, "number of models of each kind for the findings")
    workers: int | None = option(None, "processes that train the models of the findings (default: number of cores)")

    # 3.1, the data
    data_dir: pathlib.Path | None = option(None, "folder with train*, val* and test* files of both languages")
    numbers: int = option(24_000, "number of generated training pairs of number names, without files")
    source: str = option("en", "source language, the ending of its files")
    target: str = option("fr", "target language, the ending of its files")
    tokenize: Literal["none", "13a", "intl"] = option(
        "intl", "tokenizer of sacreBLEU that splits words and punctuation (none: for tokenized text)"
    )
    stream: bool = option(False, "training text that is read from its files in each epoch, not held in memory")
    source_vocabulary_size: int | None = preset(8_000, "number of source words", files=8_000, paper=160_000)
    target_vocabulary_size: int | None = preset(8_000, "number of target words", files=6_000, paper=80_000)

    # 3.4, the model. A narrow layer adds up fewer weights, so they are larger: 0.08 sqrt(1000 / units).
    units: int | None = preset(64, "width of layers and embeddings", files=160, paper=1000)
    num_layers: int | None = preset(1, "number of layers of encoder and decoder", files=2, paper=4)
    initial_scale: float | None = option(None, "bound of the initial weights (default: 0.08 sqrt(1000 / units))")
    architecture: Literal["lstm", "transformer"] = option("lstm", "transformer: that of today, to compare")
    attention: Literal["none", "additive", "dot", "general", "scaled_dot"] = option("none", "attention, to compare")
    reverse_source: bool = option(True, "reversed source")
    dropout: float | None = preset(0.0, "dropout rate, which the paper does not use", files=0.2, paper=0.0)

    # 3.4, training
    epochs: float | None = preset(10, "number of epochs, in halves", files=12, paper=7.5)
    optimizer: Literal["sgd", "adam"] = option("sgd", "optimizer")
    learning_rate: float | None = preset(0.7, "learning rate, halved every fifteenth of the training from 2/3 on")
    batch_size: int | None = preset(32, "number of sentences of a batch", files=32, paper=128)
    bucket_width: int = option(4, "greatest difference of lengths in a batch (0: random batches)")
    clipnorm: float = option(5.0, "greatest norm of the gradient divided by the sentences (0: no limit)")
    chunk_size: int | None = preset(None, "number of target tokens to score at a time", paper=1024)
    num_sampled: int | None = option(None, "number of wrong words of a sampled softmax (default: all words)")
    average: int = option(1, "number of last checkpoints to average, if that validates better (1: none)")

    # 3.2 and 3.6, decoding
    num_beams: int = option(12, "beam width of the test translations and of the exported model")


# Options of the test translations, which do not affect training.
OF_THE_TEST = ("num_beams", "test_source", "test_target", "findings", "seeds", "workers")


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    if options.dry_run:
        print(dry_run(options))
        return
    parts = read(options)
    run = experiment.run_folder(options, scope, parts, may_change=OF_THE_TEST)
    if options.findings:
        from .findings.check import check_findings  # which needs the recipe

        check_findings(options, parts, run)
        return
    task = train(options, parts, run, scope)
    if not scope.chief:
        return

    # Evaluate
    split = "test" if "test" in parts else "valid"
    translations = translation.translate(task, parts[split].sources)
    # 3.6: the text is tokenized already, and an unknown word counts as an error.
    translation.report(dataclasses.replace(options, tokenize="none"), run, parts[split], translations, split)

    # Export
    experiment.finish(options, run, scope, task, samples=[*tasks.SAMPLES, *parts[split].sources[:20]])


def with_defaults(options: Options) -> Options:
    """The options with the defaults for the size and the data in place of None."""
    presets = ["files"] if options.data_dir or options.train_source else []
    options = experiment.with_defaults(options, *presets, *(["paper"] if options.size == "paper" else []))
    if options.epochs <= 0 or options.epochs * 2 % 1:
        raise ValueError(f"--epochs must be a number of halves above 0. Received: {options.epochs}")
    if options.stream and options.findings:
        raise ValueError("--findings reads the text several times. Leave out --stream.")
    scale = options.initial_scale or 0.08 * (1000 / options.units) ** 0.5
    source, target = options.languages(options.source, options.target)
    return dataclasses.replace(options, source=source, target=target, initial_scale=scale)


def read(options: Options) -> dict[str, data.ParallelText | data.ParallelFiles]:
    """The splits: "train" and "valid", and "test" if there is one, in words separated by spaces."""
    if options.data_dir is None and options.train_source is None:
        return number_names.parallel_text(options.numbers, min(1_000, options.numbers), options.seed)
    parts = options.read_parts(options.data_dir, options.source, options.target, stream=options.stream)
    return {name: tokenized(part, options.tokenize) for name, part in parts.items()}


def tokenized(part: data.ParallelText | data.ParallelFiles, tokenizer: str):
    """The text in words separated by spaces, as the paper's text came."""
    if tokenizer == "none":
        return part
    if isinstance(part, data.ParallelFiles):
        raise ValueError("--stream reads text that is tokenized already. Add --tokenize none.")
    split = scores.tokenizer(tokenizer)
    return data.ParallelText([*map(split, part.sources)], [*map(split, part.targets)], part.report)


def train(options: Options, parts, run, scope, callbacks=()) -> tasks.Translation:
    """Trains the model, and resumes an interrupted run."""
    # Data
    source_words = vocabulary(run, scope, parts["train"], "source", options.source_vocabulary_size)
    target_words = vocabulary(run, scope, parts["train"], "target", options.target_vocabulary_size)
    order, batches, target_tokens = batched(options, parts["train"], source_words, target_words, shuffle=True)
    _, valid, _ = batched(options, parts["valid"], source_words, target_words, shuffle=False)
    training = experiment.training_data(in_halves(options, target_tokens), batches, order)

    # Model
    with scope:
        model = build(options, source_words.size, target_words.size)
        compiled(options, model, training.updates)
    experiment.initialize(options, model, run, {"source": source_words, "": target_words})

    # Fit
    experiment.fit(
        options, model, training, valid, run, scope, monitor="val_perplexity", mode="min", watching=callbacks
    )
    return translator(options, model, target_words, source_words)


def vocabulary(run, scope, train: data.ParallelText | data.ParallelFiles, side: str, size: int) -> text.Words:
    """3.1: the most frequent words of the "source" or the "target". Every other word is `<unk>`."""
    if isinstance(train, data.ParallelFiles):
        number = ("source", "target").index(side)
        lines = train.dataset().map(lambda *pair: pair[number])
    else:
        lines = train.sources if side == "source" else train.targets
    return experiment.vocabulary(run, scope, lines, "words", size, name=side)


def in_halves(options: Options, target_tokens: int) -> Options:
    """The options with rounds of half an epoch, unless they have a budget."""
    if options.budget_tokens is not None or options.budget_seconds is not None:
        return options
    tokens, rounds = options.epochs * target_tokens, round(2 * options.epochs)
    return dataclasses.replace(options, budget_tokens=tokens, rounds=rounds)


def batched(options: Options, part, source_words: text.Words, target_words: text.Words, shuffle: bool):
    """3.4: batches of sentences that have about the same length, or random ones.

    Returns:
        The steps that depend on the epoch, the batches of an epoch, and their number of target tokens.
    """
    pairs = part.dataset().apply(source_words.encoded(target_words))
    in_memory = None if options.stream else data.InMemory(pairs)
    lengths = data.lengths(pairs) if in_memory is None else in_memory.lengths()  # (N, 2)
    pairs = pairs if in_memory is None else in_memory.numbers()
    shape = batch_shape(options, lengths)
    order = [data.shuffled(options.seed), data.shuffled(options.seed, BATCHES_SHUFFLED)]
    if shuffle:
        pairs = pairs.apply(order[0])
    batches = pairs.apply(data.bucketed(**shape, examples=in_memory)).apply(data.teacher_forcing(target_words.start_id))
    batches = batches.apply(order[1]) if shuffle else batches.cache()
    batches = batches.apply(tf.data.experimental.assert_cardinality(data.plan_batches(lengths, **shape).batches))
    return order, batches, int(lengths[:, 1].sum())


def batch_shape(options: Options, lengths) -> dict[str, object]:
    """The arguments of `data.bucketed`. Random batches are those of one bucket for all lengths."""
    buckets = {"width": options.bucket_width} if options.bucket_width else {"boundaries": [int(lengths.max()) + 1]}
    return {"examples_per_batch": options.batch_size, **buckets}


def build(options: Options, source_words: int, target_words: int) -> keras.Model:
    """3.4: deep LSTMs with separate embeddings, whose weights are all uniform, the forget gates' biases too."""
    if options.architecture == "transformer":
        return models.Transformer(
            source_words,
            target_words,
            units=options.units,
            num_layers=options.num_layers,
            num_heads=4,
            intermediate_dim=2 * options.units,
            dropout=options.dropout,
        )
    bound = options.initial_scale
    return models.Seq2Seq(
        source_words,
        target_words,
        units=options.units,
        num_layers=options.num_layers,
        attention=None if options.attention == "none" else options.attention,
        bidirectional=False,
        reverse_source=options.reverse_source,
        tie_embeddings=False,
        dropout=options.dropout,
        initializer=keras.initializers.RandomUniform(-bound, bound, seed=options.seed),
    )


def compiled(options: Options, model: keras.Model, updates: int | None) -> keras.Model:
    """3.4: the gradient is that of the sum over the words of a sentence, divided by the number of sentences."""
    model.compile(
        optimizer(options, updates),
        losses.SequenceCrossentropy(chunk_size=options.chunk_size, num_sampled=options.num_sampled),
        weighted_metrics=[metrics.Perplexity()],
        jit_compile=False,
    )
    return model


def optimizer(options: Options, updates: int | None) -> keras.optimizers.Optimizer:
    """3.4: SGD without momentum, whose rate is halved in the last third of the training, and a limit on the norm."""
    if updates is None:
        raise ValueError("The learning rate is halved after a share of the updates. Leave out --budget-seconds.")
    kind = {"sgd": optimizers.SGD, "adam": optimizers.Adam}[options.optimizer]
    return kind(schedule(options.learning_rate, updates), global_clipnorm=options.clipnorm or None)


def schedule(rate: float, updates: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """The rate, halved after 10, 11, ... 14 fifteenths of the updates: 5, 5.5, ... 7 of 7.5 epochs."""
    ends = [round(updates * part / PARTS) for part in HALVED_AFTER]
    boundaries = [max(0, end - 1) for end in ends]  # the last update of a part, whose numbers begin at 0
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        boundaries, [rate * 0.5**halvings for halvings in range(len(ends) + 1)]
    )


def translator(options: Options, model: keras.Model, target_words, source_words) -> tasks.Translation:
    """3.2: left-to-right beam search, without a penalty on lengths."""
    return tasks.Translation(
        model,
        target_words,
        source_words,
        num_beams=options.num_beams,
        length_penalty=decoding.power_penalty(0.0),
        max_length=LONGEST,
    )


def search_space() -> tuning.Space:
    """The options that `keras-seq tune sutskever2014` searches. The defaults are those of the recipe."""
    return (
        tuning.Space()
        .choice("units", [128, 160, 256])
        .choice("num_layers", [1, 2, 3, 4])
        .float("learning_rate", 0.2, 2.0, log=True)
        .float("dropout", 0.0, 0.4)
        .choice("batch_size", [32, 64, 128])
    )


def dry_run(options: Options) -> str:
    """The parameters, FLOP and memory of the model, and the time of its training on some hardware, as text."""
    pairs, source_words, target_words = corpus(options)
    model = build(options, options.source_vocabulary_size, options.target_vocabulary_size)
    shape = {"source": source_words // pairs, "target": target_words // pairs}
    batch = {side: (options.batch_size, length + 1) for side, length in shape.items()}  # the end token counts
    found = cost.cost(model, batch, optimizer="SGD" if options.optimizer == "sgd" else "Adam")
    recurrent = sum(math.prod(w.shape) for w in model.weights if "kernel" in w.name)
    tokens = options.epochs * (target_words + pairs)
    lines = [
        cost.shown(cost.grouped(found, 1), training=True),
        "",
        f"{found.parameters:,} parameters, of which {recurrent:,} are recurrent connections. A sentence is "
        f"{2 * options.num_layers * options.units:,} numbers.",
        f"{pairs:,} pairs, {source_words:,} source words, {target_words:,} target words: {options.epochs:g} epochs of "
        f"{math.ceil(pairs / options.batch_size):,} batches of {options.batch_size}.",
        "Expected time, if half of the hardware's speed is reached:",
    ]
    rows = []
    for name, each in hardware.HARDWARE.items():
        step = hardware.expected_seconds(found, name, training=True)
        seconds = tokens / hardware.tokens_per_second(found, name, training=True)
        rows.append((f"  {each.name}", f"{step:.3g} s a step", f"{seconds / 86400:,.3g} days"))
    return "\n".join([*lines, *table(rows)])


def corpus(options: Options) -> tuple[int, int, int]:
    """The numbers of pairs, source words and target words of the training text. Those of the paper without files."""
    if options.size == "paper" and options.data_dir is None and options.train_source is None:
        return PAPER_CORPUS
    train = read(options)["train"]
    pairs = train.read() if isinstance(train, data.ParallelFiles) else train
    return len(pairs), *(sum(len(text.split()) for text in side) for side in (pairs.sources, pairs.targets))


def monitor(options: Options, parts) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and whether the largest or smallest is best."""
    return "val_perplexity", "min"


if __name__ == "__main__":
    cli.run(main, Options)

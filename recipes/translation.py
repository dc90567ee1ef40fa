"""Translation: from parallel text to a SavedModel that takes strings and gives strings.

    python -m recipes.translation                                          number names, English to French, 2 minutes
    python -m recipes.translation --data-dir DIR --source en --target de   DIR/train.en, DIR/train.de, DIR/val.en, ...
    python -m recipes.translation --data-dir DIR                           DIR/train.tsv, ...: source, tab, target

Run the same command again and an interrupted run goes on where it stopped.
"""

import dataclasses
import pathlib
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from keras_seq import (
    cli,
    data,
    decoding,
    experiment,
    export,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    scores,
    tasks,
)
from keras_seq.cli import option
from keras_seq.experiment import Result
from keras_seq.inspection import plots

from .synthetic import number_names

# What a flag that is not given means, for the generated numbers and for files.
NUMBERS = {"vocabulary": "words", "units": 128, "num_layers": 1, "dropout": 0.0, "label_smoothing": 0.0}
NUMBERS |= {"epochs": 8, "tokens_per_batch": 1024, "learning_rate": 4e-3, "warmup_steps": 100}
# Found on Multi30k. Batches are small, since what 29,000 pairs lack is updates.
FILES = {"vocabulary": "bpe", "units": 256, "dropout": 0.2, "label_smoothing": 0.1}
RECURRENT = {"num_layers": 2, "epochs": 16, "tokens_per_batch": 1024, "learning_rate": 2e-3, "warmup_steps": 200}
TRANSFORMER = {"num_layers": 3, "epochs": 14, "tokens_per_batch": 2048, "learning_rate": 1.5e-3, "warmup_steps": 500}

SHOWN = 5  # sentences whose translations are printed; the attention of the longest is drawn


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains, scores, explains and exports a translator."""

    data_dir: pathlib.Path | None = option(
        None, "folder with train*, val* and test* files of both languages, or .tsv files: source, tab, target"
    )
    numbers: int = option(24_000, "training pairs, where no text is given and number names are translated")
    source: str = option("en", "source language: how the names of its files end")
    target: str = option("fr", "target language")
    train_source: pathlib.Path | None = option(None, "training text, plain or .gz, in place of --data-dir")
    train_target: pathlib.Path | None = option(
        None, "its translation; not of a .tsv or .csv file, which has both sides"
    )
    valid_source: pathlib.Path | None = option(None, "validation text")
    valid_target: pathlib.Path | None = option(None, "its translation")
    test_source: pathlib.Path | None = option(None, "test text, read once, at the end (default: none)")
    test_target: pathlib.Path | None = option(None, "its translation")
    on_bad_line: Literal["error", "skip"] = option("error", "what to do with lines that are not UTF-8 or hold a NUL")
    max_length: int = option(100, "longest side of a training pair, in tokens; longer pairs are dropped and counted")
    tokenize: str = option("13a", "sacreBLEU's tokenizer; none for text that is tokenized already")

    vocabulary: Literal["bpe", "unigram", "words"] | None = option(None, "kind (default: words; bpe for files)")
    vocabulary_size: int = option(8000, "pieces or words at most")
    joint: bool = option(True, "one vocabulary and one embedding for both languages")

    architecture: Literal[*layers.ARCHITECTURES] = option("lstm", "the model")
    attention: Literal["none", "additive", "dot", "general", "scaled_dot", "location"] = option(
        "general", "of a recurrent model"
    )
    reverse_source: bool = option(False, "read the source backwards (recurrent models)")
    scheduled_sampling: float = option(
        0.0, "share of target tokens that a recurrent decoder says itself while it trains, from half the updates on"
    )
    units: int | None = option(None, "width (default: 128; 256 for files)")
    num_layers: int | None = option(None, "of encoder and decoder (default: 1; for files 2, transformer 3)")
    num_heads: int = option(4, "attention heads of a transformer")
    intermediate_dim: int | None = option(None, "feed-forward width of a transformer (default: 2 x units)")
    normalize_first: bool = option(True, "pre-norm transformer")
    dropout: float | None = option(None, "rate (default: 0; 0.2 for files)")
    intermediate_dropout: float | None = option(None, "inside a transformer's feed-forward part (default: the same)")

    epochs: int | None = option(None, "at most (default: 8; for files 16, transformer 14)")
    tokens_per_batch: int | None = option(
        None, "rows x the longer padded side (default: 1024; transformer on files 2048)"
    )
    shapes: int | None = option(None, "number of bucket shapes (default: a fifth of an epoch's batches, at most 40)")
    learning_rate: float | None = option(None, "at its peak (default: 0.004; for files 0.002, transformer 0.0015)")
    warmup_steps: int | None = option(
        None, "updates to the peak, a quarter of all at most (default: 100; for files 200, transformer 500)"
    )
    label_smoothing: float | None = option(None, "(default: 0; 0.1 for files)")

    num_beams: int = option(5, "beam of the test translations and of the exported model")
    length_penalty: float = option(1.0, "the score is log p / length ** penalty")


# They change how the test text is translated, not what is learned.
OF_THE_TEST = ("num_beams", "length_penalty", "test_source", "test_target")


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    parts = read(options)
    run = experiment.run_folder(options, scope, parts, leave_out=OF_THE_TEST)

    # Data
    source_vocabulary, target_vocabulary = both = vocabularies(options, parts["train"], run, scope)
    encoded = source_vocabulary.encoded(target_vocabulary)
    train, valid, orders = experiment.batches(
        parts["train"].dataset().apply(encoded).cache(),
        parts["valid"].dataset().apply(encoded),
        tokens_per_batch=options.tokens_per_batch,
        max_length=options.max_length,
        shapes=options.shapes,
        seed=options.seed,
        replicas=scope.replicas,
        finish=data.teacher_forcing(target_vocabulary.start_id),
    )

    # Model
    with scope:
        model = build(options, *both, updates=options.epochs * int(train.cardinality()))
        rate = experiment.learning_rate(options, int(train.cardinality()))
        model.compile(
            optimizers.Adam(rate, beta_2=0.98, epsilon=1e-9, global_clipnorm=1.0),
            losses.TokenCrossentropy(options.label_smoothing),
            weighted_metrics=[metrics.Perplexity()],
            jit_compile=False,  # a compilation for each shape takes longer than it saves on so small a corpus
        )
    experiment.initialize(options, model, run, {"source": source_vocabulary, "": target_vocabulary})

    # Fit
    greedy = translator(options, model, *both, num_beams=1)

    def validate():
        return {"val_bleu": scores.bleu(greedy(parts["valid"].sources), parts["valid"].targets, options.tokenize).value}

    fitting = {"monitor": "val_bleu", "mode": "max", "validate": validate, "epoch_aware": orders}
    if not experiment.fit(options, model, train, valid, run, scope, **fitting):
        return

    # Evaluate
    beam = translator(options, model, *both, num_beams=options.num_beams)
    split = "test" if "test" in parts else "valid"
    test = parts[split]
    report(options, run, test, beam(test.sources), split)
    draw_attention(options, model, *both, max(test.sources[:SHOWN], key=len), beam, run)

    # Export
    task = tasks.Translation(
        model,
        target_vocabulary,
        source_vocabulary,
        num_beams=options.num_beams,
        length_penalty=decoding.power_penalty(options.length_penalty),
        max_length=2 * options.max_length,  # a served model must come to an end with any text
    )
    task.save(run)
    export.saved_model(task, options.export, samples=[*tasks.SAMPLES, *test.sources[:20]])
    experiment.finish(options, run, scope)


def with_defaults(options: Options) -> Options:
    """Fills in what was not given, by what is translated and by what model."""
    if options.architecture == "transformer" and options.scheduled_sampling:
        raise ValueError("--scheduled-sampling is of recurrent models: leave it out, or take another --architecture.")
    defaults = NUMBERS
    if options.data_dir or options.train_source:
        defaults = FILES | (TRANSFORMER if options.architecture == "transformer" else RECURRENT)
    options = experiment.with_defaults(options, defaults)
    return dataclasses.replace(options, intermediate_dim=options.intermediate_dim or 2 * options.units)


def read(options: Options) -> dict[str, data.ParallelText]:
    if options.data_dir is not None:
        files = _files(options)
    elif options.train_source is not None:
        names = ("train", "valid", "test")
        files = {part: (getattr(options, f"{part}_source"), getattr(options, f"{part}_target")) for part in names}
        if (options.test_source, options.test_target) == (None, None):
            del files["test"]  # then the report is on the validation text
        missing = [
            f"--{part}-{'target' if source else 'source'}"
            for part, (source, target) in files.items()
            if source is None or (target is None and not _has_pairs(source))
        ]
        if missing:
            raise ValueError(f"--train-source needs the other files too. Missing: {' '.join(missing)}")
    else:
        return number_names.parallel_text(options.numbers, min(1_000, options.numbers), options.seed)
    parts = {part: _read(*pair, options.on_bad_line) for part, pair in files.items()}
    print("; ".join(f"{part}: {text.report}" for part, text in parts.items()) + ".")
    return parts


def _files(options: Options) -> dict[str, tuple[pathlib.Path, pathlib.Path | None]]:
    """The source and the target of each part in the folder; None for the target where the source has both sides."""
    try:
        return data.find_parallel_splits(options.data_dir, options.source, options.target)
    except FileNotFoundError:
        if not data.find_splits(options.data_dir, ["tsv"], needed=[]):
            raise
        return {part: (path, None) for part, path in data.find_splits(options.data_dir, ["tsv"]).items()}


def _has_pairs(path: pathlib.Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".tsv", ".csv"))


def _read(source: pathlib.Path, target: pathlib.Path | None, on_bad_line: str) -> data.ParallelText:
    if target is None:
        return data.read_pairs(source, on_bad_line=on_bad_line)
    return data.read_parallel_text(source, target, on_bad_line=on_bad_line)


def vocabularies(options: Options, train: data.ParallelText, run, scope) -> tuple:
    """The vocabularies of both sides, which may be one and the same."""

    def of(name, *sides):
        lines = [line for side in sides for line in side]
        return experiment.vocabulary(run, scope, lines, options.vocabulary, options.vocabulary_size, name=name)

    if options.joint:
        joint = of("joint", train.sources, train.targets)
        return joint, joint
    return of("source", train.sources), of("target", train.targets)


def build(options: Options, source_vocabulary, target_vocabulary, updates: int) -> keras.Model:
    sizes = (source_vocabulary.size, None if options.joint else target_vocabulary.size)
    shape = {"units": options.units, "num_layers": options.num_layers, "dropout": options.dropout}
    if options.architecture == "transformer":
        return models.Transformer(
            *sizes,
            num_heads=options.num_heads,
            intermediate_dim=options.intermediate_dim,
            intermediate_dropout=options.intermediate_dropout,
            normalize_first=options.normalize_first,
            **shape,
        )
    return models.Seq2Seq(
        *sizes,
        cell=options.architecture,
        attention=None if options.attention == "none" else options.attention,
        reverse_source=options.reverse_source,
        scheduled_sampling=scheduled_sampling(options, updates),
        **shape,
    )


def scheduled_sampling(options: Options, updates: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A rate that rises linearly, since at first a decoder has nothing to say."""
    if not options.scheduled_sampling:
        return 0.0
    return keras.optimizers.schedules.PolynomialDecay(0.0, max(1, updates // 2), options.scheduled_sampling)


def translator(options: Options, model, source_vocabulary, target_vocabulary, num_beams: int):
    """A function from texts to their translations, whose search is traced once, however often it is called."""
    traced = []

    def compiled(search):
        if not traced:
            traced.append(tf.function(search, input_signature=[tf.TensorSpec((None, None), tf.int32)]))
        return traced[0]

    def translate(texts):
        return decoding.generate(
            model,
            target_vocabulary,
            texts,
            source_vocabulary=source_vocabulary,
            num_beams=num_beams,
            length_penalty=decoding.power_penalty(options.length_penalty),
            compiled=compiled,
        )

    return translate


def report(options: Options, run, test: data.ParallelText, hypotheses: list[str], split: str) -> None:
    bleu = scores.bleu(hypotheses, test.targets, options.tokenize)
    chrf = scores.chrf(hypotheses, test.targets)
    experiment.report(
        options,
        run,
        [
            Result("exact match", scores.exact_match(hypotheses, test.targets), split=split),
            Result("BLEU", bleu.value, ".2f", bleu.signature, split=split),
            Result("chrF", chrf.value, ".2f", chrf.signature, split=split),
        ],
        title=f"{'Test' if split == 'test' else 'Validation'}, {len(hypotheses):,} sentences, beam {options.num_beams}",
        task=f"{options.source}-{options.target}",
        data=getattr(options.data_dir or options.train_source, "name", "number names"),
        architecture=options.architecture,
    )
    columns = {"source": test.sources, "reference": test.targets, "translation": hypotheses}
    experiment.samples(columns)
    run.write(f"{split}.txt", "\n".join(hypotheses) + "\n")


def draw_attention(options, model, source_vocabulary, target_vocabulary, sentence, translate, run) -> None:
    if options.architecture != "transformer" and options.attention == "none":
        return
    source = [*source_vocabulary.tokenize(sentence).numpy(), source_vocabulary.end_id]
    target = [*target_vocabulary.tokenize(translate([sentence])[0]).numpy(), target_vocabulary.end_id]
    state = model.encode(np.array([source]), max_length=len(target), attention_weights=True)
    _, state = model.decode(np.array([[target_vocabulary.start_id, *target[:-1]]]), state)
    plots.attention_map(
        keras.ops.convert_to_numpy(state["attention"])[0],
        source_vocabulary.pieces(source),
        target_vocabulary.pieces(target),
        run.plots / "attention.png",
    )


if __name__ == "__main__":
    cli.run(main, Options)

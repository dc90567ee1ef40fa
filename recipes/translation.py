"""Translation: trains a translator on parallel text and exports a SavedModel that maps strings to strings.

    python -m recipes.translation                                          number names, English to French, 2 minutes
    python -m recipes.translation --data-dir DIR --source en --target de   DIR/train.en, DIR/train.de, DIR/val.en, ...
    python -m recipes.translation --data-dir DIR                           DIR/train.tsv, ...: source, tab, target

Run the same command again to resume an interrupted run.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from typing import Literal

from keras_seq import cli, experiment
from keras_seq.architectures import ARCHITECTURES
from keras_seq.cli import option
from keras_seq.experiment import Result, preset
from keras_seq.lazy import data, decoding, keras, losses, metrics, models, optimizers, scores, tasks, text, tuning

from .synthetic import number_names

SHOWN = 5  # sentences whose translations are printed; the attention of the longest is drawn


@dataclasses.dataclass(frozen=True)
class Options(experiment.ParallelTextFlags, experiment.Options):
    """Trains, scores and exports a translator, and draws its attention."""

    data_dir: pathlib.Path | None = option(
        None, "folder with train*, val* and test* files of both languages, or .tsv files: source, tab, target"
    )
    numbers: int = option(24_000, "number of generated training pairs of number names, without files")
    source: str = option("en", "source language, the ending of its files")
    target: str = option("fr", "target language, the ending of its files")
    max_length: int = option(100, "longest side of a training pair in tokens (longer pairs are dropped and counted)")
    tokenize: str = option("13a", "tokenizer of sacreBLEU's BLEU (none: for tokenized text)")

    vocabulary: Literal["bpe", "unigram", "words"] | None = preset("words", "kind of tokens", files="bpe")
    vocabulary_size: int = option(8000, "greatest number of pieces or words")
    joint: bool = option(True, "one vocabulary and one embedding for both languages")

    # The defaults for files were tuned on Multi30k.
    architecture: Literal[*ARCHITECTURES] = option("lstm", "architecture of the model")
    attention: Literal["none", "additive", "dot", "general", "scaled_dot", "location"] = option(
        "general", "attention of a recurrent decoder"
    )
    reverse_source: bool = option(False, "reversed source (recurrent models)")
    scheduled_sampling: float = option(
        0.0, "share of target tokens that a recurrent decoder generates itself in training, from half the updates on"
    )
    units: int | None = preset(128, "width", files=256)
    num_layers: int | None = preset(1, "number of layers of encoder and decoder", files=2, transformer_on_files=3)
    num_heads: int = option(4, "number of attention heads of a transformer")
    intermediate_dim: int | None = option(None, "feed-forward width of a transformer (default: 2 x units)")
    normalize_first: bool = option(True, "pre-norm transformer")
    dropout: float | None = preset(0.0, "dropout rate", files=0.2)
    intermediate_dropout: float | None = option(
        None, "dropout inside a transformer's feed-forward part (default: that of --dropout)"
    )

    epochs: int | None = preset(8, "greatest number of epochs", files=16, transformer_on_files=14)
    # Batches are small, since 29,000 pairs give few updates.
    tokens_per_batch: int | None = preset(
        1024, "size of a batch in tokens: rows x the longer padded side", transformer_on_files=2048
    )
    shapes: int | None = option(None, "number of bucket shapes (default: a fifth of an epoch's batches, at most 40)")
    learning_rate: float | None = preset(4e-3, "peak learning rate", files=2e-3, transformer_on_files=1.5e-3)
    warmup_steps: int | None = preset(
        100, "number of warm-up updates, at most a quarter of all", files=200, transformer_on_files=500
    )
    label_smoothing: float | None = preset(0.0, "label smoothing", files=0.1)
    chunk_size: int | None = option(None, "number of target tokens to score at a time, to save memory (default: all)")

    num_beams: int = option(5, "beam width of the test translations and of the exported model")
    length_penalty: float = option(1.0, "exponent of the length penalty: the score is log p / length ** penalty")


# Options of the test translations, which do not affect training.
OF_THE_TEST = ("num_beams", "length_penalty", "test_source", "test_target")


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    parts = read(options)
    run = experiment.run_folder(options, scope, parts, may_change=OF_THE_TEST)
    task = train(options, parts, run, scope)
    if not scope.chief:
        return

    # Evaluate
    split = "test" if "test" in parts else "valid"
    test = parts[split]
    report(options, run, test, translate(task, test.sources), split)
    experiment.draw_attention(task, max(test.sources[:SHOWN], key=len), run.plots / "attention.png")

    # Export
    experiment.finish(options, run, scope, task, samples=[*tasks.SAMPLES, *test.sources[:20]])


def with_defaults(options: Options) -> Options:
    """The options with the defaults for the data and the model in place of None."""
    if options.architecture == "transformer" and options.scheduled_sampling:
        raise ValueError("--scheduled-sampling requires a recurrent --architecture. Leave it out, or choose another.")
    presets = ["files"] if options.data_dir or options.train_source else []
    presets += ["transformer_on_files"] if presets and options.architecture == "transformer" else []
    options = experiment.with_defaults(options, *presets)
    source, target = options.languages(options.source, options.target)
    intermediate_dim = options.intermediate_dim or 2 * options.units
    return dataclasses.replace(options, source=source, target=target, intermediate_dim=intermediate_dim)


def read(options: Options) -> dict[str, data.ParallelText]:
    """The splits: "train" and "valid", and "test" if there is one."""
    if options.data_dir is None and options.train_source is None:
        return number_names.parallel_text(options.numbers, min(1_000, options.numbers), options.seed)
    return options.read_parts(options.data_dir, options.source, options.target)


def train(options: Options, parts: dict[str, data.ParallelText], run, scope, callbacks=()) -> tasks.Translation:
    """Trains a translator."""
    # Data
    source_vocabulary, target_vocabulary = both = vocabularies(options, parts["train"], run, scope)
    encoded = source_vocabulary.encoded(target_vocabulary)
    batches, valid = experiment.batches(
        options,
        data.InMemory(parts["train"].dataset().apply(encoded)),
        parts["valid"].dataset().apply(encoded),
        tokens_per_batch=options.tokens_per_batch,
        max_length=options.max_length,
        shapes=options.shapes,
        replicas=scope.replicas,
        finish=data.teacher_forcing(target_vocabulary.start_id),
    )

    # Model
    with scope:
        model = build(options, *both, updates=batches.updates)
        rate = experiment.learning_rate(options, batches)
        model.compile(
            optimizers.Adam(rate, beta_2=0.98, epsilon=1e-9, global_clipnorm=1.0),
            losses.TokenCrossentropy(options.label_smoothing, chunk_size=options.chunk_size),
            weighted_metrics=[metrics.Perplexity()],
            jit_compile=False,  # compiling each shape takes longer than it saves on such a small corpus
        )
    experiment.initialize(options, model, run, {"source": source_vocabulary, "": target_vocabulary})

    # Fit
    task = tasks.Translation(
        model,
        target_vocabulary,
        source_vocabulary,
        num_beams=options.num_beams,
        length_penalty=decoding.power_penalty(options.length_penalty),
        max_length=2 * options.max_length,  # a served model must stop on any text
    )

    def validate():
        greedy = translate(task, parts["valid"].sources, num_beams=1)
        return {"val_bleu": scores.bleu(greedy, parts["valid"].targets, options.tokenize).value}

    name, mode = monitor(options, parts)
    fitting = {"monitor": name, "mode": mode, "validate": validate, "watching": callbacks}
    experiment.fit(options, model, batches, valid, run, scope, **fitting)
    return task


def monitor(options: Options, parts: dict[str, data.ParallelText]) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and whether the largest or smallest is best."""
    return "val_bleu", "max"


def search_space() -> tuning.Space:
    """The options that `keras-seq tune translation` searches. The defaults are those of the recipe."""
    recurrent = ["lstm", "gru"]
    return (
        tuning.Space()
        .choice("architecture", [*recurrent, "transformer"])
        .choice("units", [128, 256, 512])
        .choice("num_layers", [1, 2, 3])
        .choice("attention", ["general", "additive", "scaled_dot"], when={"architecture": recurrent})
        .choice("num_heads", [4, 8], when={"architecture": "transformer"})
        .float("dropout", 0.0, 0.4)
        .choice("label_smoothing", [0.0, 0.1])
        .float("learning_rate", 5e-4, 5e-3, log=True)
        .choice("tokens_per_batch", [1024, 2048, 4096])
    )


def vocabularies(options: Options, train: data.ParallelText, run, scope) -> tuple[text.Vocabulary, text.Vocabulary]:
    """The vocabularies of source and target, which are the same object with --joint."""

    def of(name, *sides):
        lines = [line for side in sides for line in side]
        return experiment.vocabulary(run, scope, lines, options.vocabulary, options.vocabulary_size, name=name)

    if options.joint:
        joint = of("joint", train.sources, train.targets)
        return joint, joint
    return of("source", train.sources), of("target", train.targets)


def build(options: Options, source_vocabulary, target_vocabulary, updates: int | None) -> keras.Model:
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


def scheduled_sampling(
    options: Options, updates: int | None
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A rate that rises linearly, since an untrained decoder generates noise."""
    if not options.scheduled_sampling:
        return 0.0
    if updates is None:
        raise ValueError("--scheduled-sampling needs a number of updates. Leave out --budget-seconds.")
    return keras.optimizers.schedules.PolynomialDecay(0.0, max(1, updates // 2), options.scheduled_sampling)


def translate(task: tasks.Translation, texts: list[str], **search) -> list[str]:
    return task(texts, max_source_length=sys.maxsize, **search)  # scores include all sentences, of any length


def report(options: Options, run, test: data.ParallelText, hypotheses: list[str], split: str) -> None:
    """Prints scores and samples, and writes them into the run folder."""
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
    experiment.samples({"source": test.sources, "reference": test.targets, "translation": hypotheses}, SHOWN)
    run.write(f"{split}.txt", "\n".join(hypotheses) + "\n")


if __name__ == "__main__":
    cli.run(main, Options)

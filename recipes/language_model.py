"""Language modeling: trains a model on running text to predict the next token and to continue any prompt.

    python -m recipes.language_model                              generated lines, by character, a minute
    python -m recipes.language_model --data-dir DIR               DIR/train.txt, and optionally valid.txt, test.txt,
                                                                  or all DIR/*.txt, with the last tenth held out
    python -m recipes.language_model --data-dir DIR --architecture transformer

docs/language_model.md explains the results. Run the same command again to resume an interrupted run.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from keras_seq import cli, experiment
from keras_seq.architectures import ARCHITECTURES
from keras_seq.cli import option
from keras_seq.experiment import Result, preset
from keras_seq.lazy import data, decoding, keras, layers, losses, models, plots, tasks, text, tf, training, tuning

from .baselines import ngram_language_model
from .public import plain_text
from .synthetic import counting_text

MEASURED = 16  # parallel streams in evaluation; few, as each starts without context
# Options of the samples and the evaluation, which do not affect training.
OF_THE_REPORT = ("ngram", "prompt", "sample_length")


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains, evaluates and exports a language model."""

    data_dir: pathlib.Path | None = option(None, "folder of text files, .txt or .txt.gz (default: synthetic text)")
    download: bool = option(False, "download of a million characters of Shakespeare, once")
    lines: int = option(5_000, "number of generated lines of training text")
    documents: Literal["file", "line"] | None = option(
        None, "unit that ends with the end token (default: file for characters or bytes, line for words or subwords)"
    )

    vocabulary: Literal["characters", "words", "bpe", "unigram", "bytes"] = option("characters", "kind of tokens")
    vocabulary_size: int = option(8_000, "greatest number of tokens")

    architecture: Literal[*ARCHITECTURES] = option("lstm", "architecture of the model")
    units: int | None = preset(128, "width", files=512)
    num_layers: int | None = preset(1, "number of layers", files=2)
    dropout: float | None = preset(0.0, "dropout rate", files=0.3)
    recurrent_dropout: float = option(
        0.0, "rate of dropout on the states of rnn, gru or lstm, of the same units at all steps"
    )
    num_heads: int = option(4, "number of attention heads of a transformer")
    positions: Literal["rotary", "alibi", "learned", "sinusoidal"] = option(
        "rotary", "position encoding of a transformer"
    )

    block: int = option(64, "number of tokens of backpropagation through time, or of a transformer's context")
    batch_size: int = option(32, "number of parallel streams, or of a transformer's blocks, in a batch")
    batches: int | None = option(
        None, "transformer: greatest number of batches in an epoch, drawn again for each epoch (default: all)"
    )
    epochs: int | None = preset(8, "greatest number of epochs", files=10)
    learning_rate: float | None = preset(1e-2, "peak learning rate", files=2e-3)
    weight_decay: float = option(0.0, "weight decay of AdamW")
    chunk_size: int | None = option(None, "number of tokens to score at a time, to save memory (default: all)")
    num_sampled: int | None = option(None, "number of wrong words of a sampled softmax (default: all words)")

    ngram: int = option(5, "order of an n-gram model to compare with (0: none)")
    prompt: str = option("", "text that the samples continue")
    sample_length: int = option(300, "length of a sample in tokens")
    temperature: float = option(
        0.8, "temperature of the samples: likelier tokens towards 0, the model's distribution at 1"
    )
    top_k: int | None = option(None, "number of likeliest tokens to sample from")
    top_p: float | None = option(None, "total probability of the likeliest tokens to sample from")

    @property
    def carries(self) -> bool:
        """Whether a state is carried from batch to batch."""
        return self.architecture != "transformer"


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    parts = read(options)
    run = experiment.run_folder(options, scope, parts, may_change=OF_THE_REPORT)
    task = train(options, parts, run, scope)
    if not scope.chief:
        return

    # Evaluate
    split = "test" if "test" in parts else "valid"
    report(options, run, task, parts, split)
    print_sample(options, task, options.sample_length)

    # Export
    experiment.finish(options, run, scope, task, samples=[text[:80] for text in parts[split][:8]])


def with_defaults(options: Options) -> Options:
    by_line = "line" if options.vocabulary in ("words", "bpe", "unigram") else "file"
    options = dataclasses.replace(options, documents=options.documents or by_line)
    options = experiment.with_data(options, "tinyshakespeare")
    check(options)
    return options


def train(options: Options, parts: dict[str, list[str]], run, scope, callbacks=()) -> tasks.Generation:
    """Trains a language model."""
    check_replicas(options, scope)

    # Data
    # Subwords are learned from lines. Each keeps its line feed, which the characters must include.
    lines = [line for document in parts["train"] for line in re.findall(".*\n|.+", document)]
    vocabulary = experiment.vocabulary(run, scope, lines, options.vocabulary, options.vocabulary_size)
    ids = token_ids(options, parts, vocabulary)
    print("; ".join(f"{part}: {len(tokens):,} {options.vocabulary}" for part, tokens in ids.items()) + ".")
    batches = training_batches(options, ids["train"], vocabulary.start_id)

    # Model
    with scope:
        backbone = layers.sequence_backbone(
            options.architecture,
            options.units,
            options.num_layers,
            dropout=options.dropout,
            num_heads=options.num_heads,
            architecture_options=architecture_options(options),
        )
        model = models.LanguageModel(
            vocabulary.size, backbone, dropout=options.dropout, streams=options.batch_size if options.carries else None
        )
        model.compile(
            experiment.adamw(options, batches, beta_2=0.99),
            losses.TokenCrossentropy(chunk_size=options.chunk_size, num_sampled=options.num_sampled),
            jit_compile=False,  # the loop over the steps takes minutes to compile
        )
    experiment.initialize(options, model, run, {"": vocabulary})

    # Fit
    sampling = {"temperature": options.temperature, "top_k": options.top_k, "top_p": options.top_p}
    task = tasks.Generation(model, vocabulary, search="sampling", seed=options.seed, **sampling)
    measure = decoding.TokenLosses(model, compiled=tf.function(reduce_retracing=True))
    each_epoch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print_sample(options, task, options.sample_length // 3)
    )
    name, mode = monitor(options, parts)
    experiment.fit(
        options,
        model,
        batches,
        None,
        run,
        scope,
        monitor=name,
        mode=mode,
        validate=lambda: {"val_loss": np.nanmean(losses_of(options, measure, ids["valid"], vocabulary.start_id))},
        watching=[*([each_epoch] if scope.chief else []), *callbacks],
    )
    return task


def monitor(options: Options, parts: dict[str, list[str]]) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and whether the largest or smallest is best."""
    return "val_loss", "min"


def search_space() -> tuning.Space:
    """The options that `keras-seq tune language_model` searches. The defaults are those of the recipe."""
    return (
        tuning.Space()
        .choice("architecture", ["lstm", "gru", "mingru", "transformer"])
        .choice("units", [128, 256, 512])
        .choice("num_layers", [1, 2, 3])
        .choice("num_heads", [4, 8], when={"architecture": "transformer"})
        .float("dropout", 0.0, 0.5)
        .float("learning_rate", 3e-4, 1e-2, log=True)
        .choice("batch_size", [16, 32, 64])
    )


def token_ids(options: Options, parts: dict[str, list[str]], vocabulary: text.Vocabulary) -> dict[str, np.ndarray]:
    """The ids of each split, one document after the other."""
    by_line = options.documents == "line"
    return {part: data.token_ids(texts, vocabulary, end_last=by_line) for part, texts in parts.items()}


def losses_of(
    options: Options, measure, ids: np.ndarray, start_id: int, length: int | None = None, carries: bool | None = None
) -> np.ndarray:
    """The loss of each token, `(N, length)`: with a carried state, or in independent blocks."""
    cut = {"length": length or options.block, "start_id": start_id}
    if options.carries if carries is None else carries:
        return measure(data.streams(ids, min(MEASURED, len(ids)), **cut))
    return measure(data.blocks(ids, 128, **cut))


def print_sample(options: Options, task: tasks.Generation, length: int) -> None:
    """Prints a sample of the task's search, each token as soon as it is drawn."""
    sys.stdout.write("\n")
    for piece in sampled(options, task, length):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print("\n")


def check(options: Options) -> None:
    """Raises `ValueError` for options that exclude each other, before any data is read."""
    for name in ("block", "batch_size", "lines", "sample_length"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1. Received: {getattr(options, name)}")
    if options.num_sampled is not None and options.vocabulary != "words":
        raise ValueError(
            "--num-sampled draws frequent ids more often, and of all vocabularies that of --vocabulary words alone is "
            f"sorted by frequency. Received: --vocabulary {options.vocabulary}"
        )
    if options.carries and options.batches is not None:
        raise ValueError(
            f"--batches draws blocks, but --architecture {options.architecture} reads the text from beginning to end. "
            "Leave it out, or choose --architecture transformer."
        )


def architecture_options(options: Options) -> dict[str, Any]:
    stack = {} if options.carries else {"positions": options.positions, "max_positions": options.block}
    return stack | experiment.recurrent_dropout(options)


def check_replicas(options: Options, scope) -> None:
    """Raises `ValueError` for a carried state on several devices."""
    if options.carries and scope.replicas > 1:
        raise ValueError(
            f"--architecture {options.architecture} carries a state from batch to batch, which "
            f"{scope.replicas} devices do not share. Train on one (--strategy one_device), or train a transformer."
        )


def read(options: Options) -> dict[str, list[str]]:
    """The documents of each split: "train" and "valid", and "test" if there is one."""
    if options.data_dir is None:
        sizes = {"train": options.lines} | dict.fromkeys(("valid", "test"), max(20, options.lines // 10))
        parts = {part: [counting_text.text(size, f"{part} {options.seed}")] for part, size in sizes.items()}
    else:
        parts = plain_text.parts(options.data_dir)
    return plain_text.documents(parts, by_line=options.documents == "line")


def training_batches(options: Options, ids: np.ndarray, start_id: int) -> training.TrainingData:
    """Streams for a model that carries its state, otherwise shuffled blocks."""
    if options.carries:
        if len(ids) < 2 * options.batch_size:
            raise ValueError(
                f"--batch-size {options.batch_size} streams need at least twice as many tokens. Received: {len(ids):,}"
            )
        batches, epoch_aware = data.streams(ids, options.batch_size, options.block, start_id=start_id), []
    else:
        order = data.shuffled(options.seed)
        batches = data.blocks(ids, options.batch_size, options.block, order=order, start_id=start_id)
        batches, epoch_aware = batches.take(options.batches or -1), [order]

    return experiment.training_data(options, plain_text.with_beginnings(batches, start_id), epoch_aware)


def sampled(options: Options, task: tasks.Generation, length: int) -> Iterator[str]:
    """The prompt and its continuation, piece by piece. A Transformer's context is one block."""
    search = task.search
    return decoding.stream(
        task.model,
        task.vocabulary,
        options.prompt,
        echo=True,
        max_length=length,
        context=None if options.carries else options.block,
        **{name: getattr(search, name) for name in ("temperature", "top_k", "top_p", "seed")},
        compiled=tf.function,
    )


def report(options: Options, run, task: tasks.Generation, parts: dict[str, list[str]], split: str) -> None:
    """Evaluates one split, prints and writes a table, and draws the loss by position in a block."""
    characters = sum(len(text) + 1 for text in parts[split]) - (options.documents == "file")
    ids = token_ids(options, parts, task.vocabulary)
    block, tokens = options.block, len(ids[split])
    measure = decoding.TokenLosses(task.model, compiled=tf.function(reduce_retracing=True))

    def nats(*cut) -> np.ndarray:
        return losses_of(options, measure, ids[split], task.vocabulary.start_id, *cut)

    measured = {"state carried": nats()} if options.carries else {}
    measured[f"blocks of {block}"] = nats(block, False)
    if options.positions != "learned" or options.carries:  # only learned positions are limited to a block
        measured[f"blocks of {2 * block}"] = nats(2 * block, False)
    if options.ngram:
        measured[f"{options.ngram}-grams counted"] = ngram_language_model.losses(
            ids["train"], ids[split], options.ngram, task.vocabulary.size
        )
    results = []
    for name, values in measured.items():
        architecture = "counts" if "counted" in name else options.architecture
        loss = float(np.nanmean(values))
        common = {"split": split, "task": f"language model, {name}", "architecture": architecture}
        note = ""
        if values.ndim == 2 and values.shape[1] > block:
            note = f"{np.nanmean(values[:, block:]):.4f} after the first {block}"
        results += [
            Result("nats per token", loss, ".4f", note, **common),
            Result("perplexity", math.exp(loss), ".3f", **common),
            Result("bits per character", loss * tokens / characters / math.log(2), ".4f", **common),
        ]
    data = experiment.data_name(options, "generated lines")
    common = {"task": "language model", "data": data, "architecture": options.architecture}
    experiment.report(options, run, results, title=f"{split.capitalize()}, {tokens:,} tokens", **common)
    if options.data_dir is None and options.vocabulary == "characters":
        print(f"  Lower bound of any model: {counting_text.entropy():.4f} nats per character.")
    by_place = {name: np.nanmean(values, axis=0) for name, values in measured.items() if values.ndim == 2}
    plots.loss_by_position(by_place, run.plots / "loss_by_position.png")


if __name__ == "__main__":
    cli.run(main, Options)

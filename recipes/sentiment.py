"""Sentiment: trains a classifier on labeled sentences and exports a SavedModel that maps strings to classes.

    python -m recipes.sentiment                                          generated sentences, a minute
    python -m recipes.sentiment --data-dir DIR                           DIR/train.tsv, and valid.tsv, test.tsv if there
    python -m recipes.sentiment --data-dir DIR --folds 10                cross-validation on DIR/train.tsv

docs/sentiment.md explains the results. Run the same command again to resume an interrupted run.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from typing import Literal

import numpy as np

import keras_seq
from keras_seq import cli, experiment
from keras_seq.architectures import ARCHITECTURES
from keras_seq.cli import option
from keras_seq.experiment import Result, preset
from keras_seq.lazy import data, keras, models, tasks, text, tf, tuning

from .public import rt_polarity
from .synthetic import sentiment_sentences


@dataclasses.dataclass(frozen=True)
class Options(experiment.LabeledTextFlags, experiment.Options):
    """Trains, scores and exports a classifier of sentences."""

    data_dir: pathlib.Path | None = option(
        None,
        "folder with train.tsv (or .csv, .jsonl), and optionally valid and test. Or one such file, with its last tenth "
        "for validation (default: synthetic data)",
    )
    download: bool = option(False, "download of the sentence polarity data of Pang and Lee, once")
    sentences: int = option(4_000, "number of generated training sentences")
    folds: int = option(0, "number of folds to cross-validate on the training text, in place of a single run")
    class_weights: bool = option(False, "weighting of each class by its inverse frequency")
    max_length: int = option(200, "longest training text in tokens (longer ones are dropped and counted)")

    vocabulary: Literal["words", "bpe", "unigram", "characters"] = option("words", "kind of tokens")
    vocabulary_size: int = option(20_000, "greatest number of words or pieces")
    vectors: pathlib.Path | None = option(None, "text file of initial word vectors: word2vec, GloVe, fastText")
    train_vectors: bool = option(True, "training of the word vectors")

    architecture: Literal[*ARCHITECTURES, "cnn", "feedforward"] = option("gru", "architecture of the model")
    units: int | None = preset(32, "width", files=128)
    num_layers: int = option(1, "number of layers of the encoder")
    bidirectional: bool = option(True, "bidirectional encoder")
    pooling: Literal["attention", "mean", "max", "last"] = option("attention", "pooling of the steps into one vector")
    windows: tuple[int, ...] = option((3, 4, 5), "widths of a cnn's convolutions in words")
    num_heads: int = option(4, "number of attention heads of a transformer")
    # Models soon overfit a few thousand sentences: on files, strong regularization matters most.
    dropout: float | None = preset(0.1, "dropout rate", files=0.5)
    word_dropout: float | None = preset(0.0, "share of training words replaced by the unknown token", files=0.3)
    weight_decay: float = option(0.0, "weight decay of AdamW")

    epochs: int | None = preset(12, "greatest number of epochs", files=15)
    tokens_per_batch: int = option(1024, "size of a batch in tokens: rows x the longest")
    learning_rate: float | None = preset(1e-2, "peak learning rate", files=2e-3)


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    parts = read(options)
    run = experiment.run_folder(options, scope, parts)
    if options.folds:
        cross_validate(options, parts["train"], run, scope)
        return
    task = train(options, parts, run, scope)
    if scope.chief:
        split = "test" if "test" in parts else "valid"
        report(options, run, task, parts[split], split)
        experiment.finish(options, run, scope, task, samples=parts[split].texts[:20])


def with_defaults(options: Options) -> Options:
    return experiment.with_data(options, "rt_polarity", file_too=True)


def read(options: Options) -> dict[str, data.LabeledText]:
    """The splits: "train", "valid" and, if there is one, "test". "valid" is held out where there is none."""
    parts = read_files(options)
    if "valid" not in parts and not options.folds:
        parts["train"], parts["valid"] = experiment.hold_out_last(parts["train"])
    return parts


def read_files(options: Options) -> dict[str, data.LabeledText]:
    if options.data_dir is None:
        return sentiment_sentences.labeled_text(options.sentences, min(500, options.sentences), options.seed)
    if (options.data_dir / rt_polarity.FILES["positive"]).exists():
        return rt_polarity.labeled_text(options.data_dir, options.seed)
    return options.read_parts(options.data_dir)


def train(options: Options, parts: dict[str, data.LabeledText], run, scope, callbacks=()) -> tasks.Classification:
    """Trains a classifier, for all epochs if there is no validation data."""
    # Data
    texts, valid_texts = parts["train"], parts.get("valid")
    vocabulary = experiment.vocabulary(run, scope, texts.texts, options.vocabulary, options.vocabulary_size)
    if scope.chief:
        text.save_labels(run.vocabulary / "labels.txt", texts.label_names)
    weights = tf.constant(list(texts.class_weights().values()), tf.float32)

    def weighted(ids, label):
        return ids, label, tf.gather(weights, label)

    examples = texts.dataset().apply(vocabulary.encoded())
    noise = data.word_dropout(
        options.word_dropout, replace_with=vocabulary.unknown_id, end_id=vocabulary.end_id, seed=options.seed
    )
    batches, valid = experiment.batches(
        options,
        (examples.map(weighted) if options.class_weights else examples).cache(),
        None if valid_texts is None else valid_texts.dataset().apply(vocabulary.encoded()),
        tokens_per_batch=options.tokens_per_batch,
        max_length=options.max_length,
        replicas=scope.replicas,
        noise=[noise] if options.word_dropout else [],
    )

    # Model
    with scope:
        model = build(options, vocabulary, len(texts.label_names))
        model.compile(
            experiment.adamw(options, batches),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,  # compiling each shape takes longer than it saves
        )
    experiment.initialize(options, model, run, {"": vocabulary})

    # Fit
    name, mode = monitor(options, parts)
    name = None if valid is None else name
    experiment.fit(options, model, batches, valid, run, scope, monitor=name, mode=mode, watching=callbacks)
    return tasks.Classification(model, vocabulary, texts.label_names)


def monitor(options: Options, parts: dict[str, data.LabeledText]) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and whether the largest or smallest is best."""
    return "val_accuracy", "max"


def chance(options: Options, parts: dict[str, data.LabeledText]) -> float:
    """The validation accuracy of the most frequent class."""
    counts = np.bincount(parts["valid"].labels)
    return float(counts.max() / counts.sum())


def scores_by_length(options: Options, task: tasks.Classification, parts: dict[str, data.LabeledText]):
    """The number of tokens of each validation text, `(N,)`, and 1 where its class is right, `(N,)`."""
    part = parts["valid"]
    right = [
        result.label == part.label_names[label]
        for result, label in zip(classify(task, part.texts), part.labels, strict=True)
    ]
    return np.array([len(ids) for ids in task.vocabulary.tokenize(part.texts)]), np.array(right, float)


def feedforward(options: Options, parts: dict[str, data.LabeledText], runs) -> dict:
    """A network with a fixed input, and pairs of texts with the same words in another order, told to trained models.

    Generated sentences have pairs of known classes. In other data the second text has the words in reverse order.
    """
    from keras_seq.comparison import feedforward as fixed_input

    trained = {name: keras_seq.load(run) for name, run in runs.items()}
    vocabulary = next(iter(trained.values())).vocabulary
    train, valid = (fixed_input.Texts(parts[name].texts, parts[name].labels) for name in ("train", "valid"))
    if options.data_dir is None:
        pairs = sentiment_sentences.order_pairs(seed=options.seed + 1)
        classes = [(0, 1)] * len(pairs)
    else:
        pairs, classes = [(each, " ".join(reversed(each.split()))) for each in valid.texts[:200]], None
    return fixed_input.measure(
        train,
        valid,
        lambda texts: vocabulary(texts).to_list(),
        vocabulary.size,
        filler_id=vocabulary.unknown_id,
        pairs=pairs,
        classes=classes,
        predictors={
            name: functools.partial(class_numbers, task, parts["train"].label_names) for name, task in trained.items()
        },
        seed=options.seed,
    )


def class_numbers(task: tasks.Classification, names: list[str], texts: list[str]) -> list[int]:
    return [names.index(result.label) for result in classify(task, texts)]


def search_space() -> tuning.Space:
    """The options that `keras-seq tune sentiment` searches. The defaults are those of the recipe."""
    recurrent = ["gru", "lstm", "mingru"]
    return (
        tuning.Space()
        .choice("architecture", [*recurrent, "transformer", "cnn"])
        .choice("units", [64, 128, 256])
        .choice("bidirectional", [True, False], when={"architecture": recurrent})
        .choice("pooling", ["attention", "mean", "max"], when={"architecture": [*recurrent, "transformer"]})
        .choice("num_heads", [2, 4, 8], when={"architecture": "transformer"})
        .float("dropout", 0.1, 0.7)
        .float("word_dropout", 0.0, 0.5)
        .float("learning_rate", 3e-4, 1e-2, log=True)
        .choice("tokens_per_batch", [512, 1024, 2048])
    )


def build(options: Options, vocabulary: text.Vocabulary, num_classes: int) -> keras.Model:
    return models.classifier(
        vocabulary.size,
        num_classes,
        architecture=options.architecture,
        units=options.units,
        num_layers=options.num_layers,
        bidirectional=options.bidirectional,
        pooling=options.pooling,
        vectors=experiment.word_vectors(options, vocabulary),
        train_vectors=options.train_vectors,
        dropout=options.dropout,
        num_heads=options.num_heads,
        windows=options.windows,
    )


def classify(task: tasks.Classification, texts: list[str]) -> list[tasks.Classified]:
    return task.details(texts, max_source_length=sys.maxsize)  # scores include all texts, of any length


def scores(part: data.LabeledText, results: list[tasks.Classified]) -> dict[str, float]:
    """Accuracy, and the mean F1 score of the classes."""
    f1 = keras.metrics.F1Score(average="macro")
    probabilities = np.array([[result.probabilities[name] for name in part.label_names] for result in results])
    f1.update_state(keras.ops.one_hot(part.labels, len(part.label_names)), probabilities.astype("float32"))
    accuracy = np.mean(probabilities.argmax(axis=1) == np.array(part.labels))
    return {"accuracy": float(accuracy), "macro-F1": float(f1.result())}


def common(options: Options) -> dict[str, str]:
    data = experiment.data_name(options, "generated sentences")
    return {"task": "sentiment", "data": data, "architecture": options.architecture}


def report(options: Options, run, task: tasks.Classification, part: data.LabeledText, split: str) -> None:
    """Prints scores, confusions and samples, and writes them into the run folder."""
    results, names = classify(task, part.texts), part.label_names
    entries = [Result(metric, value, split=split) for metric, value in scores(part, results).items()]
    experiment.report(options, run, entries, title=f"{split.capitalize()}, {len(part):,} texts", **common(options))
    predicted, probability = [result.label for result in results], [f"{result.probability:.1%}" for result in results]
    experiment.confusions(run, part.labels, [names.index(label) for label in predicted], names)
    columns = {"predicted": predicted, "probability": probability, "label": [names[label] for label in part.labels]}
    experiment.samples({"text": part.texts, **columns})
    experiment.write_rows(run, f"{split}.txt", {**columns, "text": part.texts})


def cross_validate(options: Options, whole: data.LabeledText, run, scope) -> None:
    """Holds out each fold in turn: trains on the other folds, for all epochs, and scores the one held out."""

    def score(fold_options: Options, training, test):
        fold_run = experiment.run_folder(fold_options, scope, {"train": whole})
        task = train(fold_options, {"train": whole.select(training)}, fold_run, scope)
        held_out = whole.select(test)
        return scores(held_out, classify(task, held_out.texts)) if scope.chief else None

    entries = experiment.cross_validate(options, whole.labels, scope, score)
    if scope.chief:
        title = f"{options.folds} folds of {len(whole):,} texts"
        experiment.report(options, run, entries, title=title, **common(options))
        scope.any_worker(False)


if __name__ == "__main__":
    cli.run(main, Options)

"""Sentiment: trains a classifier on labeled sentences and exports a SavedModel that maps strings to classes.

    python -m recipes.sentiment                                          generated sentences, a minute
    python -m recipes.sentiment --data-dir DIR                           DIR/train.tsv, and valid.tsv, test.tsv if there
    python -m recipes.sentiment --data-dir DIR --folds 10                cross-validation on DIR/train.tsv

docs/sentiment.md explains the results. Run the same command again to resume an interrupted run.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from typing import Literal

import numpy as np

from keras_seq import cli, experiment
from keras_seq.architectures import ARCHITECTURES
from keras_seq.cli import option
from keras_seq.experiment import Result, preset
from keras_seq.lazy import data, keras, models, tasks, text, tf

from .public import rt_polarity
from .synthetic import sentiment_sentences


@dataclasses.dataclass(frozen=True)
class Options(experiment.LabeledTextFlags, experiment.Options):
    """Trains, scores and exports a classifier of sentences."""

    data_dir: pathlib.Path | None = option(
        None, "folder with train.tsv (or .csv, .jsonl), and optionally valid and test (default: synthetic data)"
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
    options = experiment.with_data(options, "rt_polarity")
    parts = read(options)
    run = experiment.run_folder(options, scope, parts)
    if options.folds:
        cross_validate(options, parts["train"], run, scope)
        return
    train, valid = parts["train"], parts.get("valid")
    if valid is None:
        train, valid = experiment.hold_out_last(train)
    task = fitted(options, train, valid, run, scope)
    if scope.chief:
        test = parts.get("test", valid)
        report(options, run, task, test, "test" if "test" in parts else "valid")
        experiment.finish(options, run, scope, task, samples=test.texts[:20])


def read(options: Options) -> dict[str, data.LabeledText]:
    """The splits: "train", and "valid" and "test" if there are any."""
    if options.data_dir is None:
        return sentiment_sentences.labeled_text(options.sentences, min(500, options.sentences), options.seed)
    if (options.data_dir / rt_polarity.FILES["positive"]).exists():
        return rt_polarity.labeled_text(options.data_dir, options.seed)
    return options.read_parts(options.data_dir)


def fitted(options: Options, train: data.LabeledText, valid: data.LabeledText | None, run, scope):
    """Trains a classifier, for all epochs if there is no validation data."""
    # Data
    vocabulary = experiment.vocabulary(run, scope, train.texts, options.vocabulary, options.vocabulary_size)
    if scope.chief:
        text.save_labels(run.vocabulary / "labels.txt", train.label_names)
    weights = tf.constant(list(train.class_weights().values()), tf.float32)

    def weighted(ids, label):
        return ids, label, tf.gather(weights, label)

    examples = train.dataset().apply(vocabulary.encoded())
    noise = data.word_dropout(
        options.word_dropout, replace_with=vocabulary.unknown_id, end_id=vocabulary.end_id, seed=options.seed
    )
    batches, valid_batches, epoch_aware = experiment.batches(
        (examples.map(weighted) if options.class_weights else examples).cache(),
        None if valid is None else valid.dataset().apply(vocabulary.encoded()),
        tokens_per_batch=options.tokens_per_batch,
        max_length=options.max_length,
        seed=options.seed,
        replicas=scope.replicas,
        noise=[noise] if options.word_dropout else [],
    )

    # Model
    with scope:
        model = build(options, vocabulary, len(train.label_names))
        model.compile(
            experiment.adamw(options, batches),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,  # compiling each shape takes longer than it saves
        )
    experiment.initialize(options, model, run, {"": vocabulary})

    # Fit
    monitor = None if valid is None else "val_accuracy"
    experiment.fit(
        options, model, batches, valid_batches, run, scope, monitor=monitor, mode="max", epoch_aware=epoch_aware
    )
    return tasks.Classification(model, vocabulary, train.label_names)


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

    def score(fold_options: Options, train, test):
        task = fitted(
            fold_options, whole.select(train), None, experiment.run_folder(fold_options, scope, {"train": whole}), scope
        )
        held_out = whole.select(test)
        return scores(held_out, classify(task, held_out.texts)) if scope.chief else None

    entries = experiment.cross_validate(options, whole.labels, scope, score)
    if scope.chief:
        title = f"{options.folds} folds of {len(whole):,} texts"
        experiment.report(options, run, entries, title=title, **common(options))
        scope.any_worker(False)


if __name__ == "__main__":
    cli.run(main, Options)

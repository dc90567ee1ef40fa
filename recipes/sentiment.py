"""Sentiment: from sentences with labels to a SavedModel that takes strings and gives classes.

    python -m recipes.sentiment                                          generated sentences, a minute
    python -m recipes.sentiment --data-dir DIR                           DIR/train.tsv, and valid.tsv, test.tsv if there
    python -m recipes.sentiment --data-dir DIR --folds 10                cross-validation on DIR/train.tsv

docs/sentiment.md tells what to look at. Run the same command again and an interrupted run goes on where it stopped.
"""

import dataclasses
import pathlib
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from keras_seq import cli, data, experiment, export, layers, models, optimizers, tasks, text
from keras_seq.cli import in_one_line, option
from keras_seq.experiment import Result

from .public import rt_polarity
from .synthetic import sentiment_sentences

# What a flag that is not given means, for the generated sentences and for files.
GENERATED = {"units": 32, "dropout": 0.1, "word_dropout": 0.0, "epochs": 12, "learning_rate": 1e-2}
FILES = {"units": 128, "dropout": 0.5, "word_dropout": 0.3, "epochs": 15, "learning_rate": 2e-3}

FEWEST = 10  # texts to train on
HELD_OUT = 10  # where nothing else is there to validate on, the last tenth of the training text is


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains, scores and exports a classifier of sentences."""

    data_dir: pathlib.Path | None = option(
        None, "folder with train.tsv (or .csv, .jsonl) and, if they are there, valid and test; by default generated"
    )
    download: bool = option(False, "fetch the sentence polarity data of Pang and Lee, once")
    text_column: str = option("1", "of the files: its name, or its number from 0")
    label_column: str = option("0", "of the files: its name, or its number from 0")
    header: Literal["auto", "yes", "no"] = option("auto", "whether the first row of the files names the columns")
    label_names: tuple[str, ...] = option((), "names for labels that are numbers, in the order of these")
    sentences: int = option(4_000, "training sentences, where they are generated")
    folds: int = option(0, "only cross-validate, on so many folds of the training text")
    class_weights: bool = option(False, "weight each class by its inverse frequency")
    max_length: int = option(200, "of a training text, in tokens; longer ones are dropped and counted")

    vocabulary: Literal["words", "bpe", "unigram", "characters"] = option("words", "kind")
    vocabulary_size: int = option(20_000, "words or pieces at most")
    vectors: pathlib.Path | None = option(None, "text file of word vectors to begin with: word2vec, GloVe, fastText")
    train_vectors: bool = option(True, "train these further")

    architecture: Literal[*layers.ARCHITECTURES, "cnn", "feedforward"] = option("gru", "the model")
    units: int | None = option(None, "width (default: 32; 128 for files)")
    num_layers: int = option(1, "of the encoder")
    bidirectional: bool = option(True, "read both ways")
    pooling: Literal["attention", "mean", "max", "last"] = option("attention", "how the steps become one vector")
    windows: tuple[int, ...] = option((3, 4, 5), "words that the convolutions of a cnn look at")
    num_heads: int = option(4, "attention heads of a transformer")
    dropout: float | None = option(None, "rate (default: 0.1; 0.5 for files)")
    word_dropout: float | None = option(None, "share of training words made unknown (default: 0; 0.3 for files)")
    weight_decay: float = option(0.0, "of AdamW")

    epochs: int | None = option(None, "at most (default: 12; 15 for files)")
    tokens_per_batch: int = option(1024, "rows x the longest")
    learning_rate: float | None = option(None, "at its peak (default: 0.01; 0.002 for files)")


def main(options: Options) -> None:
    scope = experiment.setup(options)
    folder = experiment.data_folder(options.data_dir, options.download, "rt_polarity")
    options = experiment.with_defaults(
        dataclasses.replace(options, data_dir=folder), GENERATED if folder is None else FILES
    )
    parts = read(options)
    run = experiment.run_folder(options, scope, parts)
    if options.folds:
        cross_validate(options, parts["train"], run, scope)
        return
    train, valid = held_out(parts["train"]) if "valid" not in parts else (parts["train"], parts["valid"])
    vocabulary, model = fitted(options, train, valid, run, scope)
    if not scope.chief:
        return

    # Evaluate
    test = parts.get("test", valid)
    predicted = classified(model, vocabulary, test.texts)
    report(options, run, test, predicted, "test" if "test" in parts else "valid")

    # Export
    task = tasks.Classification(model, vocabulary, train.label_names)
    task.save(run)
    export.saved_model(task, options.export, samples=test.texts[:20])
    experiment.finish(options, run, scope)


def read(options: Options) -> dict[str, data.LabeledText]:
    """The parts that there are; "train" always."""
    if options.data_dir is None:
        return sentiment_sentences.labeled_text(options.sentences, min(500, options.sentences), options.seed)
    if (options.data_dir / rt_polarity.FILES["positive"]).exists():
        return rt_polarity.labeled_text(options.data_dir, options.seed)
    columns = {"text": options.text_column, "label": options.label_column}
    columns = {part: int(name) if name.isdigit() else name for part, name in columns.items()}
    columns["header"] = {"auto": None, "yes": True, "no": False}[options.header]
    parts, names = {}, None
    for part, path in data.find_splits(options.data_dir, ("tsv", "csv", "jsonl"), needed=["train"]).items():
        parts[part] = data.read_labeled_text(path, labels=names, **columns)
        names = parts[part].label_names
        parts[part] = parts[part].named(options.label_names) if options.label_names else parts[part]
        print(f"{path}: {parts[part].report}; {parts[part].class_counts()}.")
    check(parts)
    return parts


def check(parts: dict[str, data.LabeledText]) -> None:
    """Refuses training text that teaches nothing, and tells of other parts that prove nothing."""
    train = parts["train"]
    if len(train.label_names) < 2:
        raise ValueError(
            f"All {len(train):,} training texts have the label {train.label_names[0]!r}: there is nothing to learn. "
            "Does --label-column name the column of the labels?"
        )
    if len(train) < FEWEST:
        raise ValueError(f"{len(train)} training texts are too few to learn from: give {FEWEST} at least.")
    if all(name.lstrip("+-").isdigit() for name in train.label_names):
        print(f"The labels are numbers, {', '.join(train.label_names)}; --label-names gives them names.")
    known = set(train.texts)
    for part, other in parts.items():
        if part == "train":
            continue
        if len(set(other.labels)) < 2:
            print(f"All texts of the part {part} have one label: its accuracy says little.")
        if same := sum(text in known for text in other.texts):
            print(f"{same:,} of the {len(other):,} texts of the part {part} are training texts too.")


def held_out(train: data.LabeledText) -> tuple[data.LabeledText, data.LabeledText]:
    """The training text without its last tenth, and that."""
    cut = len(train) - max(1, len(train) // HELD_OUT)
    parts = train.select(range(cut)), train.select(range(cut, len(train)))
    if 0 in [count for part in parts for count in part.class_counts().values()]:
        raise ValueError(
            f"The last tenth of the training text ({len(parts[1]):,} rows to validate on) or the rest lacks a label: "
            f"it is sorted, or very small. Shuffle it, or add a file valid.tsv. It has {train.class_counts()}."
        )
    return parts


def fitted(options: Options, train: data.LabeledText, valid: data.LabeledText | None, run, scope):
    """The vocabulary and the model, trained; without validation data for all epochs."""
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
            optimizers.AdamW(
                experiment.learning_rate(options, int(batches.cardinality())),
                weight_decay=options.weight_decay,
                global_clipnorm=1.0,
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,  # a compilation for each shape takes longer than it saves
        )
    experiment.initialize(options, model, run, {"": vocabulary})

    # Fit
    monitor = None if valid is None else "val_accuracy"
    experiment.fit(
        options, model, batches, valid_batches, run, scope, monitor=monitor, mode="max", epoch_aware=epoch_aware
    )
    return vocabulary, model


def build(options: Options, vocabulary, num_classes: int) -> keras.Model:
    vectors = None
    if options.vectors is not None:
        found = data.read_vectors(options.vectors, vocabulary.pieces(range(vocabulary.size)), seed=options.seed)
        print(f"{options.vectors}: {found}.")
        vectors = found.values
    return models.classifier(
        vocabulary.size,
        num_classes,
        architecture=options.architecture,
        units=options.units,
        num_layers=options.num_layers,
        bidirectional=options.bidirectional,
        pooling=options.pooling,
        vectors=vectors,
        train_vectors=options.train_vectors,
        dropout=options.dropout,
        num_heads=options.num_heads,
        windows=options.windows,
    )


def classified(model: keras.Model, vocabulary, texts: list[str]) -> np.ndarray:
    """The probability of each class for each text, `(N, classes)`."""
    ids = tf.data.Dataset.from_tensor_slices(texts).apply(vocabulary.encoded())
    logits = np.concatenate(experiment.predict_batches(model, ids.padded_batch(128)))
    return tf.nn.softmax(logits).numpy()


def scored(part: data.LabeledText, predicted: np.ndarray) -> dict[str, float]:
    """Accuracy, and the mean of the classes' F1 scores."""
    f1 = keras.metrics.F1Score(average="macro")
    f1.update_state(keras.ops.one_hot(part.labels, len(part.label_names)), predicted)
    accuracy = float(np.mean(predicted.argmax(axis=1) == np.array(part.labels)))
    return {"accuracy": accuracy, "macro-F1": float(f1.result())}


def common(options: Options) -> dict[str, str]:
    name = "generated sentences" if options.data_dir is None else options.data_dir.name
    return {"task": "sentiment", "data": name, "architecture": options.architecture}


def report(options: Options, run, part: data.LabeledText, predicted: np.ndarray, split: str) -> None:
    """Prints scores, confusions and samples, and writes them down in the run folder."""
    results = [Result(metric, value, split=split) for metric, value in scored(part, predicted).items()]
    experiment.report(options, run, results, title=f"{split.capitalize()}, {len(part):,} texts", **common(options))
    experiment.confusions(run, part.labels, predicted.argmax(axis=1), part.label_names)
    found = [part.label_names[best] for best in predicted.argmax(axis=1)]
    sure = [f"{share:.1%}" for share in predicted.max(axis=1)]
    labels = [part.label_names[label] for label in part.labels]
    experiment.samples({"text": part.texts, "label": labels, "predicted": found, "probability": sure})
    texts = (in_one_line(text).replace("\t", " ") for text in part.texts)  # a text of a CSV file may have several
    lines = zip(found, sure, texts, strict=True)
    run.write(f"{split}.txt", "".join("\t".join(line) + "\n" for line in lines))


def cross_validate(options: Options, whole: data.LabeledText, run, scope) -> None:
    """Trains on all folds but one, for all epochs, and scores the one that was left out; each fold in its turn."""
    fold_of, scores = data.folds(whole.labels, options.folds, options.seed), []
    for fold in range(options.folds):
        own = dataclasses.replace(options, run=options.run / f"fold-{fold + 1:02}", seed=options.seed + fold)
        keras.utils.set_random_seed(own.seed)  # whichever folds an interrupted run has behind it
        train, test = (whole.select(np.flatnonzero(where)) for where in (fold_of != fold, fold_of == fold))
        vocabulary, model = fitted(own, train, None, experiment.run_folder(own, scope, {"train": whole}), scope)
        if scope.chief:
            scores.append(scored(test, classified(model, vocabulary, test.texts)))
            print(f"Fold {fold + 1}: " + ", ".join(f"{name} {value:.2%}" for name, value in scores[-1].items()))
            scope.any_worker(False)  # the other workers have waited since the end of the fit
    if not scope.chief:
        scope.any_worker(False)
        return
    results = []
    for name in scores[0]:
        values = [score[name] for score in scores]
        note = f"from {min(values):.2%} to {max(values):.2%}"
        results += [Result(f"{name}, mean", np.mean(values), note=note, split=f"{options.folds} folds")]
        results += [Result(f"{name}, standard deviation", np.std(values, ddof=1), split=f"{options.folds} folds")]
    experiment.report(options, run, results, title=f"{options.folds} folds of {len(whole):,} texts", **common(options))
    scope.any_worker(False)


if __name__ == "__main__":
    cli.run(main, Options)

"""Tagging: trains a tagger on sentences with a tag for each word and exports a SavedModel from strings to tags.

    python -m recipes.tagging                              generated sentences, a minute
    python -m recipes.tagging --data-dir DIR               DIR/train.conllu, and dev.conllu, test.conllu if there
    python -m recipes.tagging --data-dir DIR --crf         spans: columns of words and B-, I-, O tags

docs/tagging.md explains the results. Run the same command again to resume an interrupted run.
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
from keras_seq.lazy import data, keras, layers, losses, metrics, models, scores, tasks, text, tf, tuning

from .synthetic import tagged_nonsense


@dataclasses.dataclass(frozen=True)
class Options(experiment.TaggedTextFlags, experiment.Options):
    """Trains, scores and exports a tagger of words, or of spans."""

    data_dir: pathlib.Path | None = option(
        None,
        "folder with train.conllu (or columns: .tsv, .txt), and optionally valid or dev, and test. Or one such file",
    )
    download: bool = option(False, "download of English LinES, a treebank of Universal Dependencies, once")
    sentences: int = option(2_000, "number of generated training sentences")
    max_length: int = option(120, "longest training sentence in words (longer ones are dropped and counted)")

    architecture: Literal[*ARCHITECTURES, "cnn", "feedforward"] = option("lstm", "architecture of the model")
    units: int | None = preset(32, "width", files=256)
    num_layers: int = option(1, "number of layers of the encoder")
    bidirectional: bool = option(True, "bidirectional encoder")
    num_heads: int = option(4, "number of attention heads of a transformer")
    characters: Literal["lstm", "gru", "cnn", "none"] = option("lstm", "encoder of the characters of words")
    character_units: int | None = preset(32, "width of the character encoder", files=128)
    word_ngrams: int = option(
        0, "length of the longest n-grams of words that score the tags beside the network (0: none)"
    )
    feature_ngrams: int = option(0, "the same of --feature-columns")
    affixes: int = option(0, "length of the longest beginnings and ends of a word that score its tags, too (0: none)")
    ngram_l2: float = option(5e-4, "L2 regularization of the weights of n-grams and affixes")
    crf: bool = option(False, "conditional random field over the tags of a sentence")
    vectors: pathlib.Path | None = option(None, "text file of initial word vectors: word2vec, GloVe, fastText")
    dropout: float | None = preset(0.1, "dropout rate", files=0.5)
    recurrent_dropout: float = option(
        0.0, "rate of dropout on the states of rnn, gru or lstm, of the same units at all steps"
    )
    word_dropout: float = option(0.25, "a: unknown tokens replace a share a / (a + n) of the words that occur n times")
    weight_decay: float = option(0.0, "weight decay of AdamW")

    epochs: int | None = preset(8, "greatest number of epochs", files=20)
    tokens_per_batch: int = option(1024, "size of a batch in words: rows x the longest")
    learning_rate: float | None = preset(1e-2, "peak learning rate", files=2e-3)


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    parts = read(options)
    run = experiment.run_folder(options, scope, {part: parts[part] for part in ("train", "valid")})
    task = train(options, parts, run, scope)
    if scope.chief:
        report(options, run, parts, task)
        samples = [*tasks.SAMPLES, *(" ".join(sentence) for sentence in held_out(parts).words[:20])]
        experiment.finish(options, run, scope, task, samples)


def with_defaults(options: Options) -> Options:
    if options.feature_ngrams and not options.feature_columns:
        raise ValueError(f"--feature-ngrams needs --feature-columns. Received: {options.feature_ngrams}")
    if options.affixes and options.characters == "none":
        raise ValueError(f"--affixes needs the characters, without --characters none. Received: {options.affixes}")
    return experiment.with_data(options, "ud_lines", file_too=True)


def read(options: Options) -> dict[str, data.TaggedText]:
    """The splits: "train", "valid", and one to report, such as "test" or "dev"."""
    train, valid, test, split = experiment.divide_tagged(read_files(options))
    options.check(train)
    parts = {"train": train, "valid": valid, split: test}
    options.note_spans(parts)
    return parts


def held_out(parts: dict[str, data.TaggedText]) -> data.TaggedText:
    """The split to report."""
    return list(parts.values())[-1]


def train(options: Options, parts: dict[str, data.TaggedText], run, scope, callbacks=()) -> tasks.Tagging:
    """Trains a tagger."""
    # Data
    sentences, valid_sentences = parts["train"], parts["valid"]
    tags = sorted({*sentences.tag_names, *valid_sentences.tag_names})
    alone = bare(options, sentences.words)
    words = experiment.vocabulary(run, scope, alone, "words", name="words", lowercase=True)
    others = {}
    if options.characters != "none":
        others["characters"] = experiment.vocabulary(run, scope, alone, "characters", name="characters")
    if options.feature_columns:
        values = [[value for word in sentence for value in text.features_of(word)] for sentence in sentences.words]
        others["features"] = experiment.vocabulary(run, scope, values, "words", name="features")
    encode = encoded(options, words, tags, **others)
    if scope.chief:
        text.save_labels(run.vocabulary / "tags.txt", tags)
    noise = data.word_dropout(
        rare(options, words, alone), replace_with=words.unknown_id, end_id=None, seed=options.seed
    )
    batches, valid = experiment.batches(
        options,
        sentences.dataset().apply(encode).cache(),
        valid_sentences.dataset().apply(encode),
        tokens_per_batch=options.tokens_per_batch,
        max_length=options.max_length,
        replicas=scope.replicas,
        axes=("T",) * (2 + len(others)),  # words, their characters, their features, their tags
        noise=[noise] if options.word_dropout else [],
        finish=lambda examples: examples.map(weighted(["words", *others])),
    )

    # Model
    with scope:
        model = build(options, words, len(tags), **others)
        model.compile(
            experiment.adamw(options, batches),
            layers.CRFLoss() if options.crf else losses.TokenCrossentropy(),
            weighted_metrics=[layers.ViterbiAccuracy() if options.crf else metrics.TokenAccuracy("accuracy")],
            jit_compile=False,  # compiling each shape takes longer than it saves
        )
    of_weights = {"characters": "spelling", "features": "feature_embedding"}
    vocabularies = {of_weights[name]: vocabulary for name, vocabulary in others.items()} | {"": words}
    files = {weights: name for name, weights in of_weights.items()} | {"": "words"}
    experiment.initialize(options, model, run, vocabularies, files=files)

    # Fit
    task = tasks.Tagging(model, words, tags, **others)

    def validate():
        predicted = tag(task, valid_sentences.words)
        return {"val_span_f1": span_score(predicted, valid_sentences.tags).f1}

    name, mode = monitor(options, parts)
    validation = {"validate": validate} if options.mark_spans(parts) else {}
    experiment.fit(
        options, model, batches, valid, run, scope, monitor=name, mode=mode, watching=callbacks, **validation
    )
    return task


def monitor(options: Options, parts: dict[str, data.TaggedText]) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and whether the largest or smallest is best."""
    return ("val_span_f1" if options.mark_spans(parts) else "val_accuracy"), "max"


def chance(options: Options, parts: dict[str, data.TaggedText]) -> float:
    """The score of the most frequent tag for all words. No span has one tag alone, so for spans it is 0."""
    if options.mark_spans(parts):
        return 0.0
    _, counts = np.unique(np.concatenate(parts["valid"].tags), return_counts=True)
    return float(counts.max() / counts.sum())


def scores_by_length(options: Options, task: tasks.Tagging, parts: dict[str, data.TaggedText]):
    """The number of words of each validation sentence, `(N,)`, and the share of its tags that are right, `(N,)`."""
    part = parts["valid"]
    pairs = zip(tag(task, part.words), part.tags, strict=True)
    right = [np.mean(np.array(predicted) == np.array(true)) for predicted, true in pairs]
    return np.array([len(sentence) for sentence in part.words]), np.array(right)


def search_space() -> tuning.Space:
    """The options that `keras-seq tune tagging` searches. The defaults are those of the recipe."""
    recurrent = ["lstm", "gru", "mingru"]
    return (
        tuning.Space()
        .choice("architecture", [*recurrent, "transformer"])
        .choice("units", [64, 128, 256])
        .choice("num_layers", [1, 2])
        .choice("num_heads", [2, 4, 8], when={"architecture": "transformer"})
        .choice("characters", ["lstm", "gru", "cnn"])
        .choice("character_units", [32, 64, 128])
        .float("dropout", 0.1, 0.6)
        .float("word_dropout", 0.0, 1.0)
        .float("learning_rate", 5e-4, 1e-2, log=True)
        .choice("tokens_per_batch", [512, 1024, 2048])
    )


def read_files(options: Options) -> dict[str, data.TaggedText]:
    """The splits that there are: "train", and "valid" and "test" if there are any."""
    if options.data_dir is None:
        return tagged_nonsense.tagged_text(options.sentences, min(300, options.sentences), options.seed)
    return options.read_parts(options.data_dir)


def bare(options: Options, sentences: list[list[str]]) -> list[list[str]]:
    """The words of sentences without their features."""
    if not options.feature_columns:
        return sentences
    return [[text.without_features(word) for word in sentence] for sentence in sentences]


def rare(options: Options, words: text.Words, train: list[list[str]]) -> np.ndarray:
    """The share of each id that is replaced by the unknown token, which is larger for rarer words."""
    ids = words.lookup([word for sentence in train for word in sentence])
    counts = np.bincount(ids.numpy(), minlength=words.size)
    return options.word_dropout / (options.word_dropout + np.maximum(counts, 1))


def encoded(
    options: Options,
    words: text.Words,
    tags: list[str],
    characters: text.Characters | None = None,
    features: text.Words | None = None,
):
    """A dataset step from (words, tags) of a sentence to ids of the words, of their characters `(T, C)`, of their
    features `(T, F)` and of the tags."""
    numbers = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tags, tf.range(len(tags))), -1)

    def encode(sentence, marks):
        others = ()
        if features is not None:
            sentence, values = text.split_features(sentence, len(options.feature_columns))
            others = (features.lookup(values),)
        if characters is not None:
            others = (characters.tokenize(sentence).to_tensor(characters.pad_id), *others)
        return words.lookup(sentence), *others, numbers.lookup(marks)

    return lambda sentences: sentences.map(encode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def weighted(names: list[str]):
    """A step from a batch to the form that the model takes, its inputs by these names. Padding has weight 0."""

    def step(*batch):
        *inputs, tags = batch
        weights = tf.cast(inputs[0] != text.PAD_ID, tf.float32)
        return (dict(zip(names, inputs, strict=True)) if len(names) > 1 else inputs[0]), tags, weights

    return step


def build(
    options: Options,
    words: text.Words,
    num_tags: int,
    characters: text.Characters | None = None,
    features: text.Words | None = None,
) -> keras.Model:
    more = {}
    if characters is not None:
        more = {"characters": options.characters, "character_vocabulary_size": characters.size}
        more |= {"affixes": options.affixes}
    if features is not None:
        more |= {"feature_vocabulary_size": features.size, "num_features": len(options.feature_columns)}
        more |= {"feature_ngrams": options.feature_ngrams}
    return models.tagger(
        words.size,
        num_tags,
        architecture=options.architecture,
        units=options.units,
        num_layers=options.num_layers,
        bidirectional=options.bidirectional,
        vectors=experiment.word_vectors(options, words),
        **more,
        character_units=options.character_units,
        word_ngrams=options.word_ngrams,
        ngram_l2=options.ngram_l2,
        crf=options.crf,
        dropout=options.dropout,
        num_heads=options.num_heads,
        architecture_options=experiment.recurrent_dropout(options),
    )


def tag(task: tasks.Tagging, sentences: list[list[str]]) -> list[list[str]]:
    return task(sentences, max_source_length=sys.maxsize)  # scores include all sentences, of any length


def span_score(predicted: list[list[str]], true: list[list[str]], kind: str | None = None) -> scores.SpanScore:
    return scores.span_f1([data.spans(row) for row in predicted], [data.spans(row) for row in true], kind)


def report(options: Options, run, parts: dict[str, data.TaggedText], task: tasks.Tagging) -> None:
    """Prints scores, confusions, a table of the tags and samples, and writes them into the run folder."""
    split, test, spans = list(parts)[-1], held_out(parts), options.mark_spans(parts)
    predictions = tag(task, test.words)
    most, usual = experiment.usual_tags(parts["train"])
    baseline = [[usual.get(word, most) for word in sentence] for sentence in test.words]
    seen = {word for sentence in bare(options, parts["train"].words) for word in sentence}
    new = np.array([word not in seen for sentence in bare(options, test.words) for word in sentence])
    true, ours, theirs = (np.concatenate(side) for side in (test.tags, predictions, baseline))
    plainly = {"architecture": "most frequent tag", "split": split}

    results = [Result("accuracy", np.mean(true == ours), note=f"{len(true):,} words", split=split)]
    if new.any():
        note = f"{new.sum():,} words"
        results += [Result("accuracy, new words", np.mean((true == ours)[new]), note=note, split=split)]
    if spans:
        for name, value in zip(("precision", "recall", "F1"), span_score(predictions, test.tags), strict=False):
            results += [Result(f"span {name}", value, split=split)]
        results += [Result("span F1", span_score(baseline, test.tags).f1, **plainly)]
    results += [Result("accuracy", np.mean(true == theirs), **plainly)]

    common = {"task": "tagging", "data": experiment.data_name(options, "generated sentences")}
    common["architecture"] = options.architecture + "-crf" * options.crf
    experiment.report(options, run, results, title=f"{split.capitalize()}, {len(test):,} sentences", **common)
    tags = sorted({*true, *ours})
    experiment.confusions(run, [tags.index(tag) for tag in true], [tags.index(tag) for tag in ours], tags)
    # A tag is a span of one word.
    read_spans = data.spans if spans else lambda row: [(place, place + 1, tag) for place, tag in enumerate(row)]
    sides = [[read_spans(row) for row in side] for side in (predictions, test.tags)]
    kinds = sorted({kind for side in sides for row in side for *_, kind in row})
    experiment.report_by_label(run, "span" if spans else "tag", {kind: scores.span_f1(*sides, kind) for kind in kinds})
    columns = {"words": test.words, "tags": test.tags, "predicted": predictions}
    experiment.samples({name: [" ".join(row) for row in rows] for name, rows in columns.items()})
    sentences = (zip(*rows, strict=True) for rows in zip(*columns.values(), strict=True))
    run.write(f"{split}.txt", "\n".join("".join("\t".join(row) + "\n" for row in rows) for rows in sentences))


if __name__ == "__main__":
    cli.run(main, Options)

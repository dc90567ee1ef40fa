"""Tagging: from sentences with a tag for each word to a SavedModel that takes strings and gives words and tags.

    python -m recipes.tagging                              generated sentences, a minute
    python -m recipes.tagging --data-dir DIR               DIR/train.conllu, and dev.conllu, test.conllu if there
    python -m recipes.tagging --data-dir DIR --crf         spans: columns of words and B-, I-, O tags

docs/tagging.md tells what to look at. Run the same command again and an interrupted run goes on where it stopped.
"""

import collections
import dataclasses
import pathlib
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from keras_seq import cli, data, experiment, export, layers, losses, metrics, models, optimizers, scores, tasks, text
from keras_seq.cli import option
from keras_seq.experiment import Result

from .synthetic import tagged_nonsense

# What a flag that is not given means, for the generated sentences and for files.
GENERATED = {"units": 32, "num_layers": 1, "character_units": 32, "dropout": 0.1, "epochs": 8, "learning_rate": 1e-2}
FILES = {"units": 256, "num_layers": 1, "character_units": 128, "dropout": 0.5, "epochs": 20, "learning_rate": 2e-3}

FEWEST = 10  # sentences to train on
HELD_OUT = 10  # where there is nothing else to validate on, every tenth sentence of the training text is
ENDINGS = ("conllu", "tsv", "txt", "conll", "bio")


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains, scores and exports a tagger of words, or of spans."""

    data_dir: pathlib.Path | None = option(
        None, "folder with train.conllu (or columns: .tsv, .txt) and, if there, valid or dev, and test"
    )
    download: bool = option(False, "fetch English LinES, a treebank of Universal Dependencies, once")
    word_column: str | None = option(None, "of the files: its name in CoNLL-U, else its number (default: FORM; 0)")
    tag_column: str | None = option(None, "the same of the tags (default: UPOS; -1, the last one)")
    spans: Literal["auto", "yes", "no"] = option("auto", "whether the tags mark spans: names, chunks")
    sentences: int = option(2_000, "training sentences, where they are generated")
    max_length: int = option(120, "of a training sentence, in words; longer ones are dropped and counted")

    architecture: Literal[*layers.ARCHITECTURES, "cnn", "feedforward"] = option("lstm", "the model")
    units: int | None = option(None, "width (default: 32; 256 for files)")
    num_layers: int | None = option(None, "(default: 1)")
    bidirectional: bool = option(True, "read both ways")
    num_heads: int = option(4, "attention heads of a transformer")
    characters: Literal["lstm", "gru", "cnn", "none"] = option("lstm", "what reads the spelling of words")
    character_units: int | None = option(None, "its width (default: 32; 128 for files)")
    crf: bool = option(False, "score the tags of a sentence together")
    vectors: pathlib.Path | None = option(None, "text file of word vectors to begin with: word2vec, GloVe, fastText")
    dropout: float | None = option(None, "rate (default: 0.1; 0.5 for files)")
    word_dropout: float = option(0.25, "a: of the words seen n times, a / (a + n) are made unknown")
    weight_decay: float = option(0.0, "of AdamW")

    epochs: int | None = option(None, "at most (default: 8; 20 for files)")
    tokens_per_batch: int = option(1024, "rows x the longest")
    learning_rate: float | None = option(None, "at its peak (default: 0.01; 0.002 for files)")


def main(options: Options) -> None:
    scope = experiment.setup(options)
    folder = experiment.data_folder(options.data_dir, options.download, "ud_lines")
    options = experiment.with_defaults(
        dataclasses.replace(options, data_dir=folder), GENERATED if folder is None else FILES
    )
    train, valid, test, split = divided(read(options))
    tags = sorted({*train.tag_names, *valid.tag_names})
    check(options, train)
    marks = mark_spans(options, sorted({*tags, *test.tag_names}))
    run = experiment.run_folder(options, scope, {"train": train, "valid": valid})

    # Data
    words = experiment.vocabulary(run, scope, train.words, "words", name="words", lowercase=True)
    characters = None
    if options.characters != "none":
        characters = experiment.vocabulary(run, scope, train.words, "characters", name="characters")
    if scope.chief:
        text.save_labels(run.vocabulary / "tags.txt", tags)
    noise = data.word_dropout(
        rare(options, words, train), replace_with=words.unknown_id, end_id=None, seed=options.seed
    )
    batches, valid_batches, epoch_aware = experiment.batches(
        train.dataset().apply(encoded(words, characters, tags)).cache(),
        valid.dataset().apply(encoded(words, characters, tags)),
        tokens_per_batch=options.tokens_per_batch,
        max_length=options.max_length,
        seed=options.seed,
        replicas=scope.replicas,
        axes=("T",) * (2 if characters is None else 3),  # words, their spelling and their tags
        noise=[noise] if options.word_dropout else [],
        finish=lambda examples: examples.map(weighted),
    )

    # Model
    with scope:
        model = build(options, words, characters, len(tags))
        model.compile(
            optimizers.AdamW(
                experiment.learning_rate(options, int(batches.cardinality())),
                weight_decay=options.weight_decay,
                global_clipnorm=1.0,
            ),
            layers.CRFLoss() if options.crf else losses.TokenCrossentropy(),
            weighted_metrics=[layers.ViterbiAccuracy() if options.crf else metrics.TokenAccuracy("accuracy")],
            jit_compile=False,  # a compilation for each shape takes longer than it saves
        )
    vocabularies = {"": words} if characters is None else {"spelling": characters, "": words}
    experiment.initialize(options, model, run, vocabularies, files={"spelling": "characters", "": "words"})

    # Fit
    def validate():
        found = tagged(model, words, characters, tags, valid.words)
        return {"val_span_f1": span_score(found, valid.tags).f1}

    fitting = {"monitor": "val_accuracy", "mode": "max", "epoch_aware": epoch_aware}
    if marks:
        fitting |= {"monitor": "val_span_f1", "validate": validate}
    if not experiment.fit(options, model, batches, valid_batches, run, scope, **fitting):
        return

    # Evaluate
    report(options, run, train, test, tagged(model, words, characters, tags, test.words), split, marks)

    # Export
    task = tasks.Tagging(model, words, tags, characters=characters)
    task.save(run)
    samples = [*tasks.SAMPLES, *(" ".join(sentence) for sentence in test.words[:20])]
    export.saved_model(task, options.export, samples=samples)
    experiment.finish(options, run, scope)


def read(options: Options) -> dict[str, data.TaggedText]:
    """The parts that there are; "train" always."""
    if options.data_dir is None:
        return tagged_nonsense.tagged_text(options.sentences, min(300, options.sentences), options.seed)
    names = {"words": options.word_column, "tags": options.tag_column}
    columns = {key: int(name) if name and name.lstrip("-").isdigit() else name for key, name in names.items()}
    parts = {}
    for part, path in data.find_splits(options.data_dir, ENDINGS, needed=["train"]).items():
        parts[part] = data.read_tags(path, **columns)
        print(f"{path}: {parts[part].report}; {len(parts[part].tag_names)} tags.")
    return parts


def divided(parts: dict[str, data.TaggedText]) -> tuple[data.TaggedText, data.TaggedText, data.TaggedText, str]:
    """What to train, to validate and to test on, and the name of the last.

    Text that chooses the epoch is no test. So where there is one part beside the training text it is the test, read
    once, whatever its name; every tenth sentence of the training text is then held out to validate on.
    """
    train = parts["train"]
    if "valid" in parts and "test" in parts:
        return train, parts["valid"], parts["test"], "test"
    if len(train) < 2:
        raise ValueError("One training sentence cannot be divided: add a file dev.conllu, or more sentences.")
    held_out = range(min(HELD_OUT, len(train)) - 1, len(train), HELD_OUT)
    valid, train = train.select(held_out), train.select(sorted({*range(len(train))} - {*held_out}))
    for part in ("test", "valid"):
        if part in parts:
            return train, valid, parts[part], "dev" if part == "valid" else part
    return train, valid, valid, "valid"


def rare(options: Options, words: text.Words, train: data.TaggedText) -> np.ndarray:
    """The share of each id that is made unknown: the rarer a word, the more often."""
    ids = words.lookup([word for sentence in train.words for word in sentence])
    counts = np.bincount(ids.numpy(), minlength=words.size)
    return options.word_dropout / (options.word_dropout + np.maximum(counts, 1))


def encoded(words: text.Words, characters: text.Characters | None, tags: list[str] | None = None):
    """A dataset step: (words, tags) of a sentence to ids of the words, of their characters `(T, C)`, of the tags."""
    numbers = None
    if tags is not None:
        numbers = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tags, tf.range(len(tags))), -1)

    def encode(sentence, marks):
        spelled = () if characters is None else (characters.tokenize(sentence).to_tensor(characters.pad_id),)
        return words.lookup(sentence), *spelled, *(() if numbers is None else (numbers.lookup(marks),))

    return lambda sentences: sentences.map(encode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def weighted(words, *others):
    """A batch as the model takes it; padding has weight 0."""
    *spelled, tags = others
    return named(words, *spelled), tags, tf.cast(words != text.PAD_ID, tf.float32)


def named(words, *spelled):
    return {"words": words, "characters": spelled[0]} if spelled else words


def build(options: Options, words: text.Words, characters: text.Characters | None, num_tags: int) -> keras.Model:
    vectors = None
    if options.vectors is not None:
        found = data.read_vectors(options.vectors, words.pieces(range(words.size)), seed=options.seed)
        print(f"{options.vectors}: {found}.")
        vectors = found.values
    spelling = {}
    if characters is not None:
        spelling = {"characters": options.characters, "character_vocabulary_size": characters.size}
    return models.tagger(
        words.size,
        num_tags,
        architecture=options.architecture,
        units=options.units,
        num_layers=options.num_layers,
        bidirectional=options.bidirectional,
        vectors=vectors,
        **spelling,
        character_units=options.character_units,
        crf=options.crf,
        dropout=options.dropout,
        num_heads=options.num_heads,
    )


def tagged(model: keras.Model, words, characters, tags: list[str], sentences: list[list[str]]) -> list[list[str]]:
    """The tags of sentences."""
    whole = data.TaggedText(sentences, sentences, data.TagReport(0, 0, 0)).dataset()
    batches = whole.apply(encoded(words, characters)).padded_batch(64).map(named)
    rows = (row for batch in experiment.predict_batches(models.best_tags(model), batches) for row in batch)
    return [[tags[tag] for tag in row[: len(sentence)]] for row, sentence in zip(rows, sentences, strict=True)]


def check(options: Options, train: data.TaggedText) -> None:
    """Refuses training text that teaches nothing."""
    counts = collections.Counter(tag for sentence in train.tags for tag in sentence)
    column = "the last column" if options.tag_column is None else f"column {options.tag_column}"
    if len(counts) < 2:
        raise ValueError(
            f"All training words have the tag {next(iter(counts))!r}: is {column} the tags (--tag-column)?"
        )
    if counts.total() >= 2 * FEWEST and len(counts) > counts.total() / 2:
        raise ValueError(
            f"{len(counts):,} different tags of {counts.total():,} training words: is {column} the tags (--tag-column)?"
        )
    if len(train) < FEWEST:
        raise ValueError(f"{len(train)} training sentences are too few to learn from: give {FEWEST} at least.")


def mark_spans(options: Options, tags: list[str]) -> bool:
    """Whether the tags are those of spans, which is told."""
    marks = data.mark_spans(tags) if options.spans == "auto" else options.spans == "yes"
    if marks:
        data.spans(tags)  # those that it cannot read are an error now, and not after the training
        letters = "".join(sorted({tag[0] for tag in tags}, key="BIMELSUWO".index))
        print(f"The tags mark spans, by {letters}: validated on their F1 (--spans no: on each word's tag).")
    return marks


def span_score(found: list[list[str]], true: list[list[str]], kind: str | None = None) -> scores.SpanScore:
    return scores.span_f1([data.spans(row) for row in found], [data.spans(row) for row in true], kind)


def report(options: Options, run, train: data.TaggedText, test: data.TaggedText, found, split, spans: bool) -> None:
    """Prints scores, confusions, a table of the tags and samples, and writes them down in the run folder."""
    most, usual = usual_tags(train)
    baseline = [[usual.get(word, most) for word in sentence] for sentence in test.words]
    new = np.array([word not in usual for sentence in test.words for word in sentence])
    true, ours, theirs = (np.concatenate(side) for side in (test.tags, found, baseline))
    plainly = {"architecture": "most frequent tag", "split": split}

    results = [Result("accuracy", np.mean(true == ours), note=f"{len(true):,} words", split=split)]
    if new.any():
        note = f"{new.sum():,} words"
        results += [Result("accuracy, new words", np.mean((true == ours)[new]), note=note, split=split)]
    if spans:
        for name, value in zip(("precision", "recall", "F1"), span_score(found, test.tags), strict=False):
            results += [Result(f"span {name}", value, split=split)]
        results += [Result("span F1", span_score(baseline, test.tags).f1, **plainly)]
    results += [Result("accuracy", np.mean(true == theirs), **plainly)]

    name = "generated sentences" if options.data_dir is None else options.data_dir.name
    common = {"task": "tagging", "data": name, "architecture": options.architecture + "-crf" * options.crf}
    experiment.report(options, run, results, title=f"{split.capitalize()}, {len(test):,} sentences", **common)
    tags = sorted({*true, *ours})
    experiment.confusions(run, [tags.index(tag) for tag in true], [tags.index(tag) for tag in ours], tags)
    # A tag is a span of one word.
    read_spans = data.spans if spans else lambda row: [(place, place + 1, tag) for place, tag in enumerate(row)]
    sides = [[read_spans(row) for row in side] for side in (found, test.tags)]
    kinds = sorted({kind for side in sides for row in side for *_, kind in row})
    experiment.report_by_label(run, "span" if spans else "tag", {kind: scores.span_f1(*sides, kind) for kind in kinds})
    columns = {"words": test.words, "tags": test.tags, "predicted": found}
    experiment.samples({name: [" ".join(row) for row in rows] for name, rows in columns.items()})
    sentences = (zip(*rows, strict=True) for rows in zip(*columns.values(), strict=True))
    run.write(f"{split}.txt", "\n".join("".join("\t".join(row) + "\n" for row in rows) for rows in sentences))


def usual_tags(train: data.TaggedText) -> tuple[str, dict[str, str]]:
    """The most frequent tag of all, and that of each word."""
    counts = collections.defaultdict(collections.Counter)
    for sentence, tags in zip(train.words, train.tags, strict=True):
        for word, tag in zip(sentence, tags, strict=True):
            counts[word][tag] += 1
    usual = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    return sum(counts.values(), collections.Counter()).most_common(1)[0][0], usual


if __name__ == "__main__":
    cli.run(main, Options)

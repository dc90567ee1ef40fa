"""Feed-forward networks beside recurrent ones: padding, inputs of twice the length, and the order of words.

    nice .venv/bin/python -m benchmarks.feedforward > feedforward.json

Trains on the generated sentences of `recipes.sentiment`, in which the words without their order carry no information:
a network with a fixed input, a mean of embeddings, and other classifiers. Prints the entry "feedforward" of a
comparison's record.
"""

import dataclasses
import json
import sys

import keras
import numpy as np

from keras_seq import cli, models, text
from keras_seq.cli import option
from keras_seq.comparison import feedforward
from recipes.synthetic import sentiment_sentences


@dataclasses.dataclass(frozen=True)
class Options:
    """Measures feed-forward and recurrent classifiers of generated sentences."""

    architectures: tuple[str, ...] = option(
        ("feedforward", "rnn", "gru", "lstm"), "architectures beside the fixed input"
    )
    sentences: int = option(4_000, "number of training sentences")
    pairs: int = option(200, "number of pairs of sentences that differ in order alone")
    length: int = option(40, "number of positions of the fixed input")
    units: int = option(32, "width of the other models")
    epochs: int = option(10, "number of epochs")
    seed: int = option(1, "seed of the data and of the models")


def main(options: Options) -> None:
    parts = sentiment_sentences.labeled_text(options.sentences, 500, options.seed)
    train, valid = (feedforward.Texts(parts[name].texts, parts[name].labels) for name in ("train", "valid"))
    words = text.Words.train(train.texts)

    def encode(texts: list[str]) -> list[list[int]]:
        return words(texts).to_list()

    predictors = {}
    for architecture in options.architectures:
        print(f"Training {architecture}", file=sys.stderr)
        predictors[architecture] = classifier(options, architecture, train, words.size, encode)
    found = feedforward.measure(
        train,
        valid,
        encode,
        words.size,
        length=options.length,
        epochs=options.epochs,
        filler_id=words.unknown_id,
        pairs=sentiment_sentences.order_pairs(options.pairs, options.seed + 1),
        classes=[(0, 1)] * options.pairs,
        predictors=predictors,
        seed=options.seed,
    )
    print(json.dumps(found, indent=1))


def classifier(options: Options, architecture: str, train: feedforward.Texts, vocabulary_size: int, encode):
    """Trains a classifier, and returns its predictions as a function of texts."""
    keras.utils.set_random_seed(options.seed)
    model = models.classifier(vocabulary_size, 2, architecture=architecture, units=options.units, dropout=0.1)
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    tokens = keras.utils.pad_sequences(encode(list(train.texts)), padding="post")
    model.fit(tokens, np.asarray(train.labels), batch_size=64, epochs=options.epochs, verbose=0)
    return lambda texts: feedforward.predicted(model, keras.utils.pad_sequences(encode(texts), padding="post")).tolist()


if __name__ == "__main__":
    main(cli.parse(Options))

"""Models that predict one tag for each word."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.layers import CELLS, CRF, Affixes, CharacterEncoder, JoinFeatures, NgramScores, ViterbiDecoder
from keras_seq.layers.recurrent_stack import registered_class
from keras_seq.models.building_blocks import embed, encode_sequence
from keras_seq.models.functional import functional
from keras_seq.models.numbers import check_counts, check_rates


def tagger(
    vocabulary_size: int,
    num_tags: int,
    *,
    architecture: str | type = "lstm",
    units: int = 128,
    num_layers: int = 1,
    bidirectional: bool = True,
    embedding_dim: int | None = None,
    vectors: np.ndarray | None = None,
    train_vectors: bool = True,
    characters: str | type = "lstm",
    character_vocabulary_size: int | None = None,
    character_units: int = 64,
    feature_vocabulary_size: int | None = None,
    num_features: int = 1,
    feature_dim: int = 32,
    word_ngrams: int = 0,
    feature_ngrams: int = 0,
    affixes: int = 0,
    ngram_l2: float = 5e-4,
    crf: bool = False,
    dropout: float = 0.3,
    num_heads: int = 4,
    architecture_options: Mapping[str, Any] | None = None,
    pad_id: int = 0,
    name: str = "tagger",
) -> keras.Model:
    """A model that scores the tags of each word.

        model = tagger(8000, 17, character_vocabulary_size=100, crf=True)
        model.compile("adam", layers.CRFLoss(), weighted_metrics=[layers.ViterbiAccuracy()])
        tags = best_tags(model).predict({"words": words, "characters": characters})

    Args:
        vocabulary_size: number of word ids.
        num_tags: number of tags, N.
        architecture: one of `layers.ARCHITECTURES`, a registered cell, or a baseline: "cnn" covers windows of five
            words, "feedforward" processes each word separately.
        units: width, D.
        num_layers: number of layers.
        bidirectional: whether each word depends on later words.
        embedding_dim: width of the word embeddings. None: that of `vectors`, else `units`.
        vectors: initial embeddings, float `(vocabulary_size, embedding_dim)`. None: random ones.
        train_vectors: whether to train `vectors` further.
        characters: encoder of the characters of a word: "cnn" or a cell, as for `layers.CharacterEncoder`.
        character_vocabulary_size: number of character ids. None: words are represented by their ids alone.
        character_units: width of the character encoder's output.
        feature_vocabulary_size: number of ids of features, such as parts of speech. None: words have no features.
        num_features: number of features of a word, F.
        feature_dim: width of the embedding of a feature.
        word_ngrams: length of the longest n-grams of words around a word that score its tags beside the network
            (`layers.NgramScores`). 0: none. The linear taggers before recurrent networks had 2.
        feature_ngrams: the same of features. Linear taggers had 3 of parts of speech.
        affixes: number of characters of the longest beginnings and ends of a word that score its tags, too. Linear
            taggers had 4.
        ngram_l2: factor of the sum of the squares of these scores' weights in the loss. A good value is about
            100 / the number of training words.
        crf: whether to score the tags of a sentence together, with a conditional random field.
        dropout: rate of dropout on words, characters and features, between layers and before the scores.
        num_heads: number of attention heads of a Transformer.
        architecture_options: more arguments of the `RecurrentStack` or `TransformerStack`, as a dict.
        pad_id: id of padding, on the right, for words and for characters.
    Returns:
        a `keras.Model` from `{"words": int (B, T), "characters": int (B, T, C), "features": int (B, T, F)}`, of these
        the ones that it reads, or from the words alone, int `(B, T)`. Its output is logits `(B, T, N)`, for
        `losses.TokenCrossentropy`, or with `crf=True` potentials `(B, T, N, N)`, for `layers.CRFLoss`. `best_tags`
        turns either into tags.
    Raises:
        ValueError: if an option has an invalid value.
    Example:
        >>> model = models.tagger(100, 5, architecture="gru", units=8)
        >>> tuple(model(np.array([[5, 6, 7], [8, 9, 0]])).shape)
        (2, 3, 5)
    Source: Lample et al. 2016, arXiv:1603.01360; Ma and Hovy 2016, arXiv:1603.01354. N-grams: Huang et al.
        2015, arXiv:1508.01991. "cnn": Collobert et al. 2011.
    """
    check_counts(vocabulary_size=vocabulary_size, num_tags=num_tags, units=units, num_layers=num_layers)
    check_counts(embedding_dim=embedding_dim, num_heads=num_heads, character_units=character_units)
    check_counts(character_vocabulary_size=character_vocabulary_size, feature_vocabulary_size=feature_vocabulary_size)
    check_counts(num_features=num_features, feature_dim=feature_dim)
    check_counts(word_ngrams=word_ngrams or None, feature_ngrams=feature_ngrams or None, affixes=affixes or None)
    if feature_ngrams and feature_vocabulary_size is None:
        raise ValueError(f"`feature_ngrams` needs `feature_vocabulary_size`. Received: feature_ngrams={feature_ngrams}")
    if not bidirectional and (word_ngrams or feature_ngrams):
        raise ValueError(
            "`word_ngrams` and `feature_ngrams` read later words, which `bidirectional=False` excludes. "
            f"Received: word_ngrams={word_ngrams}, feature_ngrams={feature_ngrams}"
        )
    if affixes and character_vocabulary_size is None:
        raise ValueError(f"`affixes` needs `character_vocabulary_size`. Received: affixes={affixes}")
    check_rates(dropout=dropout)
    if characters not in ("cnn", *CELLS) and not registered_class(str(characters)):
        raise ValueError(
            f"`characters` must be 'cnn', one of {(*CELLS,)}, or a registered cell. Received: {characters!r}"
        )
    words = keras.Input((None,), dtype="int32", name="words")
    inputs = {"words": words}
    if embedding_dim is None:
        embedding_dim = units if vectors is None else vectors.shape[-1]
    x = embed(
        words,
        vocabulary_size,
        embedding_dim,
        vectors=vectors,
        train_vectors=train_vectors,
        scale=architecture == "transformer" and vectors is None,
        dropout=dropout,
        pad_id=pad_id,
    )
    if character_vocabulary_size is not None:
        spelling = keras.Input((None, None), dtype="int32", name="characters")
        inputs["characters"] = spelling
        encoder = CharacterEncoder(
            character_vocabulary_size, character_units, characters, dropout=dropout, pad_id=pad_id, name="spelling"
        )
        spelled = keras.layers.Dropout(dropout, name="character_dropout")(encoder(spelling))
        x = JoinFeatures(name="words_and_characters")([x, spelled])
    if feature_vocabulary_size is not None:
        inputs["features"] = features = keras.Input((None, num_features), dtype="int32", name="features")
        marked = keras.layers.Embedding(feature_vocabulary_size, feature_dim, name="feature_embedding")(features)
        marked = keras.layers.Reshape((-1, num_features * feature_dim), name="feature_vectors")(marked)
        marked = keras.layers.Dropout(dropout, name="feature_dropout")(marked)
        x = JoinFeatures(name="words_and_features")([x, marked])
    steps = {"bidirectional": bidirectional, "dropout": dropout, "num_heads": num_heads}
    steps |= {"architecture_options": architecture_options}
    x, _ = encode_sequence(x, architecture, units, num_layers, **steps)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    scores = keras.layers.Dense(num_tags, name="logits")(x)
    direct = [(words, word_ngrams, max(2, word_ngrams // 2))]  # ids, the length of their n-grams, the window
    if feature_ngrams:
        direct.append((features, feature_ngrams, max(2, feature_ngrams // 2)))
    if affixes:
        direct.append((Affixes(affixes, pad_id, name="affixes")(spelling), 1, 0))
    if any(max_n for _, max_n, _ in direct):
        ids, max_n, window = zip(*direct, strict=True)
        l2 = keras.regularizers.L2(ngram_l2)
        ngrams = NgramScores(num_tags, max_n, window, pad_id=pad_id, table_regularizer=l2, name="ngrams")
        scores = keras.layers.Add(name="scores")([scores, ngrams(list(ids))])
    inputs = inputs if len(inputs) > 1 else words
    return keras.Model(inputs, CRF(num_tags, name="potentials")(scores) if crf else scores, name=name)


def best_tags(model: keras.Model) -> keras.Model:
    """A model that returns the tags themselves, with the layers and weights of a `tagger`.

    Args:
        model: a `tagger`, with or without a conditional random field.
    Returns:
        a `keras.Model` from the same inputs to int32 `(B, T)`. Padding has tag 0.
    """
    model = functional(model)
    decode = ViterbiDecoder if len(model.output.shape) == 4 else LikeliestTags
    return keras.Model(model.input, decode(name="tags")(model.output), name=f"best_{model.name}")


@keras.saving.register_keras_serializable("keras_seq")
class LikeliestTags(keras.layers.Layer):
    """The most probable tag of each real step: logits `(B, T, N)` to int32 `(B, T)`, 0 for padding."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, logits, mask=None):
        tags = ops.cast(ops.argmax(logits, axis=-1), "int32")
        return tags if mask is None else ops.where(mask, tags, 0)

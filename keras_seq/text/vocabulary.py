"""The base class of vocabularies, which convert strings to ids and back in the graph."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from os import PathLike

import numpy as np
import tensorflow as tf

PAD_ID = 0
UNKNOWN_ID = 1
START_ID = 2
END_ID = 3
SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")  # in the order of their ids

_log = logging.getLogger(__name__)
_ENCODE_BATCH = 1024  # lines per call, to amortize the cost of a call


class Sampling:
    """Settings by which `Vocabulary.encoded(sampling=...)` draws a new segmentation of each text into subwords.

    A model that sees words in several segmentations learns the meaning of their parts. For a unigram vocabulary a
    segmentation x is drawn with probability P(x)^alpha, normalized over all segmentations: a smaller `alpha` makes them
    more equally likely. For a BPE vocabulary (BPE-dropout) each merge is skipped with probability `alpha`, and
    `nbest_size` has no effect.

    Without a seed, TensorFlow Text draws in the graph, and the draws cannot be seeded: SentencePiece has one randomly
    seeded generator per thread, which `tf.random.set_seed` does not reach. With a seed, SentencePiece's Python package
    draws, 1,024 lines per call. The draws are then a function of `seed`, the epoch and the place in the data, for any
    number of parallel calls. But these calls run one at a time, the dataset cannot leave this process, and
    SentencePiece's global seed is changed. Each new iteration of the dataset is an epoch, as for `data.shuffled`.
    `start_epoch` makes that independent of other iterations. A `cache` after the step would freeze one draw.

    Args:
        alpha: see above. The papers use 0.1 for BPE, and 0.1 to 0.5 for unigram.
        nbest_size: number of best segmentations to draw from, at most 512, or -1 for all.
        seed: a whole number. None: random.
        first_epoch: epoch of the first iteration.

    Raises:
        ValueError: if `alpha` is not positive, or `nbest_size` is neither -1 nor from 2 to 512.

    Sources: Kudo 2018, arXiv:1804.10959; Provilkov et al. 2020, arXiv:1910.13267.
    """

    def __init__(self, alpha: float = 0.1, nbest_size: int = -1, *, seed: int | None = None, first_epoch: int = 0):
        if alpha <= 0 or not (nbest_size == -1 or 2 <= nbest_size <= 512):
            raise ValueError(
                f"`alpha` must be positive and `nbest_size` -1 or from 2 to 512. Received: {alpha=}, {nbest_size=}"
            )
        self.alpha = alpha
        self.nbest_size = nbest_size
        self.seed = seed
        self.start_epoch(first_epoch)

    def start_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self._epochs = itertools.count(epoch)

    def draws(self) -> tf.data.Dataset:
        """Endless pairs (epoch, place), int64, from which seeds are made."""
        epochs = tf.data.Dataset.from_tensors(0).map(
            lambda _: tf.ensure_shape(tf.numpy_function(lambda: np.int64(next(self._epochs)), [], tf.int64), ())
        )
        return epochs.flat_map(lambda epoch: tf.data.Dataset.range(tf.int64.max).map(lambda place: (epoch, place)))


_INSTEAD = {  # names of other libraries
    "adapt": "the class method `train(texts)`",
    "build": "the class method `train(texts)`",
    "decode": "`detokenize(ids)`",
    "encode": "`tokenize(strings)`, or the dataset step `encoded()`",
    "fit": "the class method `train(texts)`",
    "id_to_token": "`pieces(ids)`",
    "token_to_id": "`tokenize(strings)`",
    "vocab": "`get_vocabulary()`",
    "vocabulary": "`get_vocabulary()`",
    "vocabulary_size": "`size`",
}


class _WithAdvice(type(tf.Module)):
    """Makes an unknown attribute that is a name of another library raise an error with our name for it."""

    def __getattr__(cls, name: str):
        raise _no_attribute(cls, name)


def _no_attribute(kind: type, name: str) -> AttributeError:
    advice = f". Use {_INSTEAD[name]}" if name in _INSTEAD else ""
    return AttributeError(f"{kind.__name__!r} has no attribute {name!r}{advice}")


class Vocabulary(tf.Module, metaclass=_WithAdvice):
    """Converts strings to ids and ids to strings. Its kinds are `Subwords`, `Words`, `Characters` and `Bytes`.

    Calling it is `tokenize`, and `len` is `size`.

    All tensors and tables that the graph needs belong to this `tf.Module`. A vocabulary that is an attribute of a
    saved module is therefore saved inside its SavedModel, without asset files.

    A subclass overrides `size`, `tokenize`, `_join`, `pieces`, `save`, `load` and `train`.
    """

    pad_id = PAD_ID
    unknown_id = UNKNOWN_ID
    start_id = START_ID
    end_id = END_ID
    keeps_words = False  # whether texts may be split into words, of which each gets one id
    separator: str | None = None  # text between two pieces, if each piece stands for a part of the text

    @property
    def size(self) -> int:
        """The number of ids, including the special ones."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.size

    def __call__(self, strings) -> tf.RaggedTensor:
        return self.tokenize(strings)

    def __getattr__(self, name: str):
        raise _no_attribute(type(self), name)

    def get_vocabulary(self) -> list[str]:
        """The written form of each id, in order of the ids."""
        return self.pieces(range(self.size))

    def tokenize(self, strings) -> tf.RaggedTensor:
        """Strings `(B,)` to ragged int32 ids `(B, None)`, or one string to ids `(T,)`. Adds no start or end id."""
        raise NotImplementedError

    def detokenize(self, ids) -> tf.Tensor:
        """Converts ids to text. It stops at the first end id and drops padding and start ids.

        Args:
            ids: ragged or padded integers `(B, T)`, or one sequence `(T,)`.

        Returns:
            Strings `(B,)`, or one string.
        """
        if isinstance(ids, tf.RaggedTensor):
            ids = ids.to_tensor(self.pad_id)
        ids = tf.cast(ids, tf.int32)
        if ids.shape.rank == 1:
            return self.detokenize(ids[tf.newaxis])[0]
        ended = tf.cumsum(tf.cast(ids == self.end_id, tf.int32), axis=1) > 0  # (B, T)
        kept = ~ended & (ids != self.pad_id) & (ids != self.start_id)
        return self._join(tf.ragged.boolean_mask(ids, kept))

    def _join(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Ragged ids `(B, None)` without special ids to strings `(B,)`."""
        raise NotImplementedError

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The written form of each id, including special ones: the labels of a plot."""
        raise NotImplementedError

    def split(self, texts: Iterable[str]) -> list[list[str]]:
        """The parts of each text as written, including unknown ones, one for each id of `tokenize`.

        Raises:
            ValueError: if ids do not stand for parts of a text (`separator` is None).
        """
        raise ValueError(
            "Splitting needs ids that each stand for a part of a text: `Words` or `Characters`. Received: "
            + type(self).__name__
        )

    def save(self, path: str | PathLike) -> None:
        """Writes the vocabulary to one file."""
        raise NotImplementedError

    def encoded(
        self, target: "Vocabulary | None" = None, *, add_end: bool = True, sampling: Sampling | None = None
    ) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
        """A dataset step that turns every text of an element into an int32 vector: its ids and the end id.

        `(source, target)` becomes `(source ids, target ids)`, `(text, label)` becomes `(ids, label)`, a single text its
        ids. A text is a string `()`. A string vector `(T,)` is a text already split into words, which only `Words`
        accept, with one id per word. Other components pass unchanged. The order is kept.

        If all components are scalars, lines are tokenized in batches, otherwise one by one.

        Args:
            target: the vocabulary of the second text and any further ones. By default this one. The texts of a dict
                count in the alphabetical order of their names.
            add_end: whether the end id follows each text.
            sampling: draws a new segmentation in each epoch, for training, see `Sampling`. Does not change the texts of
                vocabularies with a single segmentation.

        Raises:
            ValueError: if elements have no text, or strings that are neither `()` nor `(T,)`, or split texts for
                another kind than `Words` (all raised when the step is applied), or if `sampling` is given and neither
                vocabulary has more than one segmentation.
        """
        vocabularies = (self, self if target is None else target)
        if sampling is not None and not any(vocabulary.can_sample for vocabulary in vocabularies):
            kinds = " and ".join(dict.fromkeys(type(vocabulary).__name__ for vocabulary in vocabularies))
            raise ValueError(f"`sampling` needs a vocabulary with many segmentations: `Subwords`. Received: {kinds}")

        def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
            spec = dataset.element_spec
            encoders = _encoders(spec, vocabularies, add_end, sampling)

            def encode(draw, element):
                parts = tf.nest.flatten(element)
                encoded = [part if e is None else e(part, draw) for part, e in zip(parts, encoders, strict=True)]
                return tf.nest.pack_sequence_as(spec, encoded)

            scalars = all(getattr(part, "shape", None) == () for part in tf.nest.flatten(spec))
            rows = dataset.batch(_ENCODE_BATCH) if scalars else dataset
            draws = sampling.draws() if sampling is not None else tf.data.Dataset.from_tensors(0).repeat()
            encoded = tf.data.Dataset.zip((draws, rows)).map(
                encode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
            )
            if scalars:  # back to single elements, now with a dense element spec
                encoded = encoded.unbatch().map(lambda *parts: tf.nest.pack_sequence_as(spec, tf.nest.flatten(parts)))
            count = dataset.cardinality()
            if count == tf.data.UNKNOWN_CARDINALITY:
                return encoded
            return encoded.apply(tf.data.experimental.assert_cardinality(count))

        return step

    can_sample = False  # whether a text has several segmentations, of which `_sampled` draws one

    def _sampled(self, strings: tf.Tensor, sampling: Sampling, draw) -> tf.RaggedTensor:
        """Like `tokenize`, but with a segmentation drawn with the seed `draw`, (epoch, place, component)."""
        raise NotImplementedError

    def lookup(self, words) -> tf.Tensor:
        """One int32 id for each word, in the shape of `words`."""
        raise ValueError(
            "Texts already split into words, string vectors `(T,)`, need a vocabulary with one id per word: "
            f"`Words`. Or join the words of each text. Received: {type(self).__name__}"
        )


def _encoders(spec, vocabularies, add_end: bool, sampling: Sampling | None) -> list[Callable | None]:
    """The function from strings to ids for each component of an element, None for one that is not a string."""

    def encoder(place: int, vocabulary: Vocabulary, rank: int):
        def encode(strings, draw):
            if rank == 1:
                ids = vocabulary.lookup(strings)
            elif sampling is not None and vocabulary.can_sample:
                ids = vocabulary._sampled(strings, sampling, (*draw, place))
            else:
                ids = vocabulary.tokenize(strings)
            if not add_end:
                return ids
            ends = tf.fill([tf.shape(strings)[0], 1] if isinstance(ids, tf.RaggedTensor) else [1], vocabulary.end_id)
            return tf.concat([ids, ends], axis=-1)

        return encode

    encoders, place = [], 0
    for part in tf.nest.flatten(spec):
        if getattr(part, "dtype", None) != tf.string:
            encoders.append(None)
            continue
        rank = part.shape.rank
        if rank not in (0, 1) or not isinstance(part, tf.TensorSpec):
            raise ValueError(f"A text must be a string () or, split into words, a vector (T,). Received: {part}")
        encoders.append(encoder(place, vocabularies[min(place, 1)], rank))
        place += 1
    if not place:
        raise ValueError(f"`encoded` needs elements with a text. Received: {spec}")
    return encoders


def texts(lines, split: bool = False) -> Iterator[str | list[str]]:
    """All texts of an iterable, or a `tf.data.Dataset`, of texts or of tuples of texts.

    Args:
        lines: texts, each a string, or a list or array of its words.
        split: whether to yield such a list as a list. Otherwise each of its words is a text.
    """
    if isinstance(lines, (str, bytes)):
        raise ValueError(f"`lines` must be an iterable of lines, not one string. Received: {lines[:80]!r}")
    for line in lines.as_numpy_iterator() if isinstance(lines, tf.data.Dataset) else lines:
        for text in line if isinstance(line, tuple) else (line,):
            if not isinstance(text, (list, np.ndarray)):
                yield _decoded(text)
            elif split:
                yield [_decoded(word) for word in text]
            else:
                yield from map(_decoded, text)


def warn_of_omitted(what: str, counts: Counter, kept: list) -> None:
    """Logs the number of words, or other pieces, of a text that are not in the vocabulary and become unknown."""
    left = counts.total() - sum(counts[thing] for thing in kept)
    if left and kept:
        _log.warning(
            "The vocabulary has %s of %s different %s; %s of the text's %s become unknown.",
            *(f"{len(kept):,}", f"{len(counts):,}", what, f"{left:,}", f"{counts.total():,}"),
        )


def _decoded(string) -> str:
    return string.decode("utf-8", "replace") if isinstance(string, bytes) else str(string)

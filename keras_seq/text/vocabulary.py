"""What every vocabulary can do: strings to ids and back, inside the graph."""

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
_ENCODE_BATCH = 1024  # lines tokenized by one call: the cost of a call is then spread over many lines


class Sampling:
    """How `Vocabulary.encoded(sampling=...)` draws the segmentation of a text into subwords, anew each time.

    A model that sees a word in several segmentations learns what its parts mean. For a unigram vocabulary a
    segmentation x is drawn with probability P(x)^alpha, over the sum of all: the smaller `alpha`, the more alike they
    are. For a BPE vocabulary (BPE-dropout) each merge is left out with probability `alpha`, and `nbest_size` has no
    meaning.

    Without a seed TensorFlow Text draws, inside the graph, and nothing seeds it: SentencePiece has one generator a
    thread, started by chance, which `tf.random.set_seed` does not reach. With a seed SentencePiece's Python package
    draws, 1,024 lines a call: then what is drawn is a function of `seed`, the epoch and the place in the data, however
    many calls run at once; but no two of these calls run at the same time, the dataset cannot leave this process, and
    SentencePiece's own global seed is changed. Each new iteration of the dataset is an epoch, as for `data.shuffled`;
    `start_epoch` makes that independent of other iterations. A `cache` behind the step would keep one draw for good.

    Args:
        alpha: see above. The papers use 0.1 for BPE, and 0.1 to 0.5 for unigram.
        nbest_size: of how many best segmentations one is drawn, at most 512; -1 for all.
        seed: a whole number; None for chance.
        first_epoch: the epoch that the first iteration has.

    Raises:
        ValueError: if `alpha` is not positive, or `nbest_size` neither -1 nor from 2 to 512.

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
        """The next iteration draws for this epoch."""
        self._epochs = itertools.count(epoch)

    def draws(self) -> tf.data.Dataset:
        """Endless pairs (epoch, place), int64, by which seeds are made."""
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
    """The errors of a class and of its instances for a name of another library name ours."""

    def __getattr__(cls, name: str):
        raise _no_attribute(cls, name)


def _no_attribute(kind: type, name: str) -> AttributeError:
    advice = f". Use {_INSTEAD[name]}" if name in _INSTEAD else ""
    return AttributeError(f"{kind.__name__!r} has no attribute {name!r}{advice}")


class Vocabulary(tf.Module, metaclass=_WithAdvice):
    """Turns strings into ids and ids into strings. `Subwords`, `Words`, `Characters` and `Bytes` are the kinds.

    A call is `tokenize`, and `len` is `size`.

    Everything that the graph needs is held as tensors and tables of this `tf.Module`: a vocabulary that is an
    attribute of a saved module is saved inside its SavedModel, without asset files.

    A kind of its own overrides `size`, `tokenize`, `_join`, `pieces`, `save`, `load` and `train`.
    """

    pad_id = PAD_ID
    unknown_id = UNKNOWN_ID
    start_id = START_ID
    end_id = END_ID
    keeps_words = False  # whether it takes texts that are split into words, and gives each word one id
    separator: str | None = None  # what a text has between its pieces, where each stands for a part of the text

    @property
    def size(self) -> int:
        """The number of ids, the special ones counted."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.size

    def __call__(self, strings) -> tf.RaggedTensor:
        return self.tokenize(strings)

    def __getattr__(self, name: str):
        raise _no_attribute(type(self), name)

    def get_vocabulary(self) -> list[str]:
        """The written form of all ids, in their order."""
        return self.pieces(range(self.size))

    def tokenize(self, strings) -> tf.RaggedTensor:
        """Strings `(B,)` to ragged int32 ids `(B, None)`; one string to ids `(T,)`. No start or end id is added."""
        raise NotImplementedError

    def detokenize(self, ids) -> tf.Tensor:
        """Ids to text: stops at the first end id and leaves out padding and start ids.

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
        """Ragged ids `(B, None)` without special ones to strings `(B,)`."""
        raise NotImplementedError

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The written form of each id, special ones too: the labels of a plot."""
        raise NotImplementedError

    def split(self, texts: Iterable[str]) -> list[list[str]]:
        """The parts of each text as they stand there, unknown ones too, one for each id of `tokenize`.

        Raises:
            ValueError: for a kind whose ids stand for no part of a text, `separator` None.
        """
        raise ValueError(
            "Ids that stand for a part of a text each need `Words` or `Characters`. Received: " + type(self).__name__
        )

    def save(self, path: str | PathLike) -> None:
        """Writes the vocabulary to one file."""
        raise NotImplementedError

    def encoded(
        self, target: "Vocabulary | None" = None, *, add_end: bool = True, sampling: Sampling | None = None
    ) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
        """A dataset step: every text of an element becomes an int32 vector, its ids and the end id.

        `(source, target)` becomes `(source ids, target ids)`, `(text, label)` becomes `(ids, label)`, a lone text its
        ids. A text is a string `()`; a string vector `(T,)` is a text split into words already, which only `Words`
        take: one id a word. What is no string passes. The order is kept.

        Where all components are scalars, lines are tokenized many at a time; one by one otherwise.

        Args:
            target: the vocabulary of the second text (and of any further ones); this one if None. The texts of a dict
                count in the alphabetical order of their names.
            add_end: whether the end id follows each text.
            sampling: draws one of many segmentations anew each epoch, for training: see `Sampling`. Texts of
                vocabularies that have but one segmentation stay as they are.

        Raises:
            ValueError: when the step meets elements without a text, or with strings that are neither `()` nor `(T,)`,
                or words split already for another kind than `Words`; if `sampling` is given and neither vocabulary
                has more than one segmentation.
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
            if scalars:  # back to single elements, now dense by type
                encoded = encoded.unbatch().map(lambda *parts: tf.nest.pack_sequence_as(spec, tf.nest.flatten(parts)))
            count = dataset.cardinality()
            if count == tf.data.UNKNOWN_CARDINALITY:
                return encoded
            return encoded.apply(tf.data.experimental.assert_cardinality(count))

        return step

    can_sample = False  # whether a text has many segmentations, of which `_sampled` draws one

    def _sampled(self, strings: tf.Tensor, sampling: Sampling, draw) -> tf.RaggedTensor:
        """As `tokenize`, but for the segmentation, which is drawn: seeded by `draw`, (epoch, place, component)."""
        raise NotImplementedError

    def lookup(self, words) -> tf.Tensor:
        """One int32 id for each word, in the shape of `words`."""
        raise ValueError(
            "Texts that are split into words already, string vectors `(T,)`, need a vocabulary with one id a word: "
            f"`Words`; or join the words to one text. Received: {type(self).__name__}"
        )


def _encoders(spec, vocabularies, add_end: bool, sampling: Sampling | None) -> list[Callable | None]:
    """For each component of an element the function from strings to ids; None for one that is no string."""

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
        lines: a text is a string, or a list or array of the words that it is split into.
        split: give such a list as it is, and not its words as so many texts.
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


def tell_of_left_out(what: str, counts: Counter, kept: list) -> None:
    """Logs how many things of a text a vocabulary leaves out, which become unknown."""
    left = counts.total() - sum(counts[thing] for thing in kept)
    if left and kept:
        _log.warning(
            "The vocabulary has %s of %s different %s; %s of the text's %s become unknown.",
            *(f"{len(kept):,}", f"{len(counts):,}", what, f"{left:,}", f"{counts.total():,}"),
        )


def _decoded(string) -> str:
    return string.decode("utf-8", "replace") if isinstance(string, bytes) else str(string)

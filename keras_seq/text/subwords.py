"""SentencePiece subwords: trained in Python, applied in the graph."""

import io
import logging
import re
import threading
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np
import sentencepiece
import tensorflow as tf
import tensorflow_text

from keras_seq.text.vocabulary import END_ID, PAD_ID, START_ID, UNKNOWN_ID, Vocabulary, texts

_SEEDING = threading.Lock()  # SentencePiece has one seed per process
_LONGEST_LINE = 2**30  # bytes; by default SentencePiece silently drops lines over 4,192, and their characters
_KEPT = "\N{ZERO WIDTH NON-JOINER}"  # replaced by a space in `nmt_nfkc`
_RESERVED = "\0\u2585"
_log = logging.getLogger(__name__)
_CHANCE = 2**32 - 1  # the seed for which SentencePiece draws a random seed


class Subwords(Vocabulary):
    """A SentencePiece vocabulary.

    Text is normalized with SentencePiece's default (`nmt_nfkc`, white space collapsed), so a round trip returns the
    normalized text. Characters that did not occur in training become the unknown id. The zero width non-joiner, which
    is part of Persian and Hindi words, is kept as a separate piece if the training text has it.

    `tokenize` always returns the best segmentation, also in an export. `encoded(sampling=Sampling(...))` draws others.

    Args:
        model: bytes of a SentencePiece model with pad 0, unknown 1, start 2 and end 3, as created by `train`.

    Raises:
        ValueError: if `model` is not a SentencePiece model or has other special ids.

    Source: Kudo and Richardson 2018, arXiv:1808.06226.
    """

    def __init__(self, model: bytes):
        super().__init__(name="subwords")
        self._model = model
        try:
            self._processor = processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            for i in range(processor.get_piece_size()):
                processor.id_to_piece(i)  # must be UTF-8, which SentencePiece does not check
            with tf.init_scope():
                self._tokenizer.tokenize([""])  # TensorFlow Text has a separate SentencePiece
        except (RuntimeError, UnicodeDecodeError, tf.errors.OpError) as error:
            raise ValueError(f"`model` must hold a SentencePiece model. Received: {len(model)} bytes") from error
        ids = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
        if ids != (PAD_ID, UNKNOWN_ID, START_ID, END_ID):
            raise ValueError(
                f"A SentencePiece model must have the (pad, unknown, start, end) ids "
                f"{(PAD_ID, UNKNOWN_ID, START_ID, END_ID)}. Train it with `Subwords.train`. Received: {ids}"
            )

    @classmethod
    def train(
        cls,
        lines,
        vocabulary_size: int = 8000,
        *,
        model_type: str = "bpe",
        character_coverage: float = 1.0,
        hard_vocab_limit: bool = True,
        max_lines: int = 5_000_000,
        seed: int = 0,
    ) -> "Subwords":
        """Trains a vocabulary.

        Args:
            lines: iterable, or `tf.data.Dataset`, of strings or of tuples of strings (both sides: a joint vocabulary).
            vocabulary_size: number of pieces, including the four special ones.
            model_type: "bpe" or "unigram".
            character_coverage: share of the characters of the text that each get a piece.
            hard_vocab_limit: whether text too small for `vocabulary_size` is an error. False: it gets a smaller
                vocabulary.
            max_lines: maximum number of lines, drawn at random from more.
            seed: seed of that draw.

        Raises:
            ValueError: if the text is empty, too small for `vocabulary_size`, or has more characters than that.
        """
        if model_type not in ("bpe", "unigram"):
            raise ValueError(f'`model_type` must be "bpe" or "unigram". Received: {model_type!r}')
        lines = list(lines) if isinstance(lines, Iterator) else lines  # they are read twice
        kept = sorted({character for line in texts(lines) for character in _KEPT if character in line})
        count = reserved = 0

        def counted():
            nonlocal count, reserved
            for line in texts(lines):
                count += bool(line.strip())
                reserved += any(character in line for character in _RESERVED)
                yield line

        model = io.BytesIO()
        sentencepiece.set_random_generator_seed(seed)
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=counted(),
                model_writer=model,
                vocab_size=vocabulary_size,
                model_type=model_type,
                character_coverage=character_coverage,
                hard_vocab_limit=hard_vocab_limit,
                input_sentence_size=max_lines,
                shuffle_input_sentence=True,
                pad_id=PAD_ID,
                unk_id=UNKNOWN_ID,
                bos_id=START_ID,
                eos_id=END_ID,
                max_sentence_length=_LONGEST_LINE,
                user_defined_symbols=kept,
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise ValueError(_training_problem(str(error), count, vocabulary_size)) from error
        if reserved:
            _log.warning("%d lines with NUL or U+2585 are ignored, since SentencePiece does not use them.", reserved)
        if count > max_lines:
            _log.warning("Of %d lines, %d are drawn at random for training (`max_lines`).", count, max_lines)
        return cls(model.getvalue())

    @classmethod
    def load(cls, path: str | PathLike) -> "Subwords":
        """Reads a file written by `save`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a SentencePiece model with our special ids.
        """
        path = Path(path)
        try:
            return cls(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | PathLike) -> None:
        """Writes the SentencePiece model to one file. End the file name in `.spm` for `text.load`."""
        Path(path).write_bytes(self._model)

    @property
    def size(self) -> int:
        return self._processor.get_piece_size()

    @property
    def _tokenizer(self) -> tensorflow_text.SentencepieceTokenizer:
        # Created again for each call or graph, since `tf.random.set_seed` releases the resource of the eager one.
        return tensorflow_text.SentencepieceTokenizer(model=self._model, out_type=tf.int32)

    def tokenize(self, strings) -> tf.RaggedTensor:
        return self._tokenizer.tokenize(strings)

    can_sample = True

    def _sampled(self, strings, sampling, draw):
        options = {"nbest_size": sampling.nbest_size, "alpha": sampling.alpha}
        if sampling.seed is None:
            tokenizer = tensorflow_text.SentencepieceTokenizer(model=self._model, out_type=tf.int32, **options)
            return tokenizer.tokenize(strings)

        def drawn(lines, *draw):
            seeds = np.random.SeedSequence([abs(sampling.seed), int(sampling.seed < 0), *map(int, draw)])
            with _SEEDING:
                # One thread: a call then starts a separate generator from the seed.
                sentencepiece.set_random_generator_seed(int(seeds.generate_state(1)[0]) % _CHANCE)
                rows = self._processor.encode(list(lines), enable_sampling=True, num_threads=1, **options)
            return np.array([i for row in rows for i in row], np.int32), np.array([len(row) for row in rows], np.int64)

        values, lengths = tf.numpy_function(drawn, [tf.reshape(strings, [-1]), *draw], [tf.int32, tf.int64])
        values, lengths = tf.ensure_shape(values, [None]), tf.ensure_shape(lengths, [None])
        return tf.RaggedTensor.from_row_lengths(values, lengths) if strings.shape.rank else values

    def _join(self, ids):
        return self._tokenizer.detokenize(ids)

    def pieces(self, ids):
        return [self._processor.id_to_piece(int(i)) for i in ids]


def _training_problem(message: str, line_count: int, vocabulary_size: int) -> str:
    if not line_count:
        return "`lines` holds no text to train a vocabulary on."
    if "sentences_.empty" in message:
        return (
            f"None of the {line_count} lines of text can be used: SentencePiece ignores lines with NUL or U+2585. "
            "Remove these characters."
        )
    most, least = re.search(r"value <= (\d+)", message), re.search(r"required_chars\. \d+ vs (\d+)", message)
    if most:
        remedy = f"allow at most {most[1]} pieces. Request that many or fewer, or pass hard_vocab_limit=False"
    elif least:
        remedy = f"need at least {least[1]} pieces, one per character. Request more, or lower `character_coverage`"
    else:
        remedy = f"allow another number of pieces ({message.strip()})"
    return f"`vocabulary_size`={vocabulary_size} does not fit: {line_count} lines of text {remedy}."

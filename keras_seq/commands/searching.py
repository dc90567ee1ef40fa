"""Texts to texts: one compiled search for lines of any number and length."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_seq.commands.beside import Beside
from keras_seq.commands.model_files import Served
from keras_seq.commands.opened import Trained
from keras_seq.commands.search_options import LineSearchOptions, search_arguments
from keras_seq.commands.streams import Failed, one_line

NEW_TOKENS = 100  # that a language model says, unless told otherwise


class Found(NamedTuple):
    """The results for one line, best first.

    Attributes:
        finished: whether each came to its end, and was not cut off at --max-length.
        own: the line itself, where it is to be written before each of the texts.
    """

    texts: list[str]
    scores: list[float]
    log_probs: list[float]
    finished: list[bool]
    own: str = ""


def translation(
    opened: Trained | Served,
    options: LineSearchOptions,
    limits: "Limits",
    replace_unknown: bool | dict[str, str] = False,
) -> Callable[[list], list]:
    """The function from a list of texts to as many `Found` or `Failed`, for a model that translates. In place of a text
    there may be a tuple, as `beside.with_beside` gives it.

    Args:
        replace_unknown: as of `decoding.generate`.
    Raises:
        ValueError: if the model is no translator, for an option of the search that is out of range, and if unknown
            words are to be replaced by a model that cannot do that.
    """
    if isinstance(opened, Served):
        if replace_unknown is not False:
            raise ValueError(
                f"--replace-unknown: {opened.folder} is a SavedModel, which does not tell what it looked at. Leave the "
                "flag out, or give the run folder."
            )
        from keras_seq.commands.served import texts_to_texts

        return texts_to_texts(opened, "translate", options, limits)
    if opened.is_language_model:
        raise ValueError(
            f"{opened.file} is a language model: it goes on, and does not translate. Use keras-seq generate."
        )
    if replace_unknown is not False and not getattr(opened.model, "has_attention", False):
        raise ValueError(f"--replace-unknown needs a model with attention: {opened.file} has none. Leave the flag out.")
    source_vocabulary = opened.source_vocabulary
    beside = Beside(options, opened.vocabulary)
    tokenize, search = _compiled(opened, opened.model, options, beside, None, replace_unknown=replace_unknown)

    def compute(items):
        texts, told = beside.read(items)
        ids = [row.tolist() for row in tokenize(texts)]
        sources = [[*row, source_vocabulary.end_id] if row else [] for row in ids]
        nothing = Found([""], [0.0], [0.0], [True])  # what has no token has one translation
        return _by_length(sources, told, limits, search, source_vocabulary.pad_id, nothing)

    return compute


def continuation(
    opened: Trained | Served, options: LineSearchOptions, limits: "Limits", first: str | None, echo: bool
) -> Callable[[list], list]:
    """The function from a list of texts, or tuples, to as many `Found` or `Failed`, for a language model.

    Args:
        first: "start" or "end", the token before each text; None: start.
        echo: whether the text itself is part of what comes out.
    """
    if isinstance(opened, Served):
        from keras_seq.commands.served import texts_to_texts

        if first is not None:
            raise ValueError(f"--first: {opened.folder} is a SavedModel, which has it inside. Leave it out.")
        return texts_to_texts(opened, "generate", options, limits, "whole" if echo else "text")
    if not opened.is_language_model:
        raise ValueError(f"{opened.file} translates, and has no way to go on from a text. Use keras-seq translate.")
    if options.coverage_penalty:
        raise ValueError("--coverage-penalty: a language model has no source that it could leave out. Leave it out.")
    from keras_seq.decoding import Continued

    vocabulary = opened.vocabulary
    beside = Beside(options, vocabulary)
    model = Continued(opened.model, vocabulary.pad_id)
    tokenize, search = _compiled(opened, model, options, beside, NEW_TOKENS, echo)
    begin = vocabulary.end_id if first == "end" else vocabulary.start_id

    def compute(items):
        texts, told = beside.read(items)
        prompts = [[begin, *row.tolist()] for row in tokenize(texts)]
        return _by_length(prompts, told, limits, search, vocabulary.pad_id, None)

    return compute


class Limits(NamedTuple):
    """`batch_tokens`: rows of a batch times its padded length. `longest`: tokens of a line that is still worked on."""

    batch_tokens: int
    longest: int


def _compiled(
    opened: Trained,
    model: Any,
    options: LineSearchOptions,
    beside: Beside,
    new_tokens: int | None,
    echo: bool = False,
    replace_unknown: bool | dict[str, str] = False,
):
    """`tokenize` (texts to rows of ids) and `search` (ids `(B, S)`, and for each row what is beside it, to `Found` or
    `Failed`), each of one trace."""
    import tensorflow as tf

    from keras_seq.decoding import unknown_words
    from keras_seq.decoding.searching import search_with_vocabulary
    from keras_seq.export.texts import following, written

    vocabulary, source_vocabulary = opened.vocabulary, opened.source_vocabulary
    if replace_unknown is not False:
        unknown_words.check(model, vocabulary, source_vocabulary)
    arguments = search_arguments(options, vocabulary)
    max_length = new_tokens if options.longest is None else options.longest

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def tokenized(strings):
        return source_vocabulary.tokenize(strings)

    strings, ids = tf.TensorSpec([None], tf.string), tf.TensorSpec((None, None), tf.int32)

    @tf.function(input_signature=[strings, ids, beside.signature()], autograph=False)
    def searched(lines, source, told):
        find, constraints = beside.applied(arguments["search"], told)
        own = {"search": find, "constraints": [*constraints, *arguments["constraints"]]}
        found = search_with_vocabulary(model, vocabulary, source, max_length=max_length, **own)
        tokens = tf.convert_to_tensor(found.tokens)  # (B, R, T)
        texts = following(vocabulary, lines, source[:, 1:], tokens) if echo else written(vocabulary, tokens)
        finished = tf.reduce_any(tokens == vocabulary.end_id, axis=2)
        if replace_unknown is False:
            return texts, found.scores, found.log_probs, finished
        places = unknown_words.looked_at(model, source, found.tokens, vocabulary, source_vocabulary)
        return texts, found.scores, found.log_probs, finished, found.tokens, places

    searched.get_concrete_function()  # what is wrong with an option is told before a line is read

    def tokenize(texts):
        return tokenized(tf.constant([text.encode() for text in texts], tf.string)).numpy() if texts else []

    def search(batch, told):
        lines = [own["text"] for own in told]
        parts = searched(tf.constant([line.encode() for line in lines]), tf.constant(batch), beside.tensors(told))
        texts, scores, log_probs, finished, *looked = (part.numpy() for part in parts)
        if looked:
            given = {"source_vocabulary": source_vocabulary}
            given["dictionary"] = None if replace_unknown is True else replace_unknown
            texts = [[text.decode("utf-8", "replace") for text in row] for row in texts.tolist()]
            texts = unknown_words.replace_unknown(lines, *looked, vocabulary, **given)
        owns = lines if echo else [""] * len(lines)
        return [found(*row) for row in zip(texts, scores, log_probs, finished, owns, strict=True)]

    return tokenize, search


def found(texts, scores, log_probs, finished, own: str = "") -> Found | Failed:
    """Leaves out empty slots."""
    count = int(np.sum(scores > -np.inf))
    if not count:
        return Failed("no output was found that is as the flags ask")
    told = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts[:count]]
    return Found(told, scores[:count].tolist(), log_probs[:count].tolist(), finished[:count].tolist(), own)


def _by_length(
    sources: list[list[int]], told: list, limits: Limits, search: Callable, pad_id: int, nothing: Found | None
) -> list:
    """Searches for rows of ids; an empty one has the result `nothing`, one of which `Failed` is told, that."""

    def compute(rows):
        batch = np.full((len(rows), padded_width(max(len(sources[row]) for row in rows))), pad_id, "int32")
        for line, row in zip(batch, rows, strict=True):
            line[: len(sources[row])] = sources[row]
        return search(batch, [told[row] for row in rows])

    results = [own if isinstance(own, Failed) else nothing for own in told]
    some = [row for row, source in enumerate(sources) if source and not isinstance(told[row], Failed)]
    found = in_batches([len(sources[row]) for row in some], limits, lambda rows: compute([some[row] for row in rows]))
    for row, result in zip(some, found, strict=True):
        results[row] = result
    return results


def padded_width(length: int) -> int:
    """As wide as `decoding.generate` makes a batch, so that the results are the same."""
    from keras_seq.decoding.generate import padded_width

    return padded_width(length - 1)


def in_batches(lengths: Sequence[int], limits: Limits, compute: Callable[[list[int]], list]) -> list:
    """Results in the order of the rows, computed for rows of like length together, the longest first.

    A row that is too long is `Failed`; so is one that TensorFlow fails at, by itself: a batch that fails is halved.
    """
    results: list[Any] = [None] * len(lengths)
    rows = []
    for row, length in enumerate(lengths):
        if length > limits.longest:
            results[row] = too_long(length, limits)
        else:
            rows.append(row)
    for batch in _batches(sorted(rows, key=lambda row: -lengths[row]), lengths, limits.batch_tokens):
        for row, result in _halving(batch, compute):
            results[row] = result
    return results


def too_long(length: int, limits: Limits) -> Failed:
    return Failed(f"{length:,} tokens are more than --max-source-length {limits.longest:,}")


def _batches(rows: list[int], lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Each of one padded width: the room for a result follows from it, and is no matter of the lines beside a line."""
    while rows:
        width = padded_width(lengths[rows[0]])
        batch = rows[: max(1, batch_tokens // width)]
        batch = [row for row in batch if padded_width(lengths[row]) == width]
        yield batch
        rows = rows[len(batch) :]


def _halving(rows: list[int], compute: Callable[[list[int]], list]) -> Iterator[tuple[int, Any]]:
    import tensorflow as tf

    try:
        results = compute(rows)
    except tf.errors.OpError as error:
        if len(rows) == 1:
            yield rows[0], Failed(f"the model fails: {one_line(error)}")
            return
    else:
        yield from zip(rows, results, strict=True)
        return
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        yield from _halving(half, compute)

"""Choosing among given candidates: by a weighted sum of scores, or by their agreement."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from keras_seq.decoding.perplexity import forced_log_probs, forced_pass, with_end

CHUNK = 16384  # candidates that `score_candidates` tokenizes and sorts by length at a time, which bounds its memory


def rerank(features: Mapping[str, np.ndarray], weights: Mapping[str, float] | None = None):
    """Orders n-best lists by a weighted sum of scores.

    Args:
        features: scores by name, each float `(B, N)`: N candidates for each of B sentences, higher is better. A
            candidate with NaN or -inf for any score is an empty slot.
        weights: a number for each name, possibly negative (None: equal weights, which sum to 1).
    Returns:
        `(order, scores)`: int `(B, N)`, the indices of the candidates, best first, empty slots last and equal scores in
        the given order, and float64 `(B, N)`, the weighted sums in the order of the candidates, -inf for an empty slot.
    Raises:
        ValueError: for shapes that differ, or weights whose names differ from those of the features.
    Source: Sutskever et al. 2014, section 3.7, arXiv:1409.3215, where the score of a phrase-based system and the LSTM's
        are averaged on lists of 1000.
    """
    names, stacked, empty = _stacked(features)
    if weights is None:
        weights = dict.fromkeys(names, 1.0 / len(names))
    if set(weights) != set(names):
        raise ValueError(f"`weights` must have the names of the features, {names}. Received: {sorted(weights)}")
    return _ordered(stacked, empty, np.array([weights[name] for name in names], "float64"))


def tune_weights(
    features: Mapping[str, np.ndarray], objective: Callable[[np.ndarray], float], *, rounds: int = 5
) -> tuple[dict[str, float], float]:
    """Tunes the weights of `rerank` for the best first choices as a whole, on a development set.

    This is a line search, one weight after the other, over a grid that is halved each round. It starts from equal
    weights and from each score alone, and so ends no worse than any of them on this set. The gain on another set must
    be measured there. Scores are first divided by their spread within a sentence.

    Args:
        features: see `rerank`.
        objective: maps the choices, int `(B,)`, the index of a candidate for each sentence, to a number, such as corpus
            BLEU (higher is better). It is called once for each set of choices.
        rounds: number of times that the grid is halved.
    Returns:
        `(weights, value)`: the weights, for the scores as given, and the objective of their choices.
    Raises:
        ValueError: for shapes that differ.
    """
    names, stacked, empty = _stacked(features)
    spread = _spread(stacked, ~empty)
    scale = 1.0 / np.where(spread > 0, spread, 1.0)
    known: dict[bytes, float] = {}

    def value(weights: np.ndarray) -> float:
        choices = _ordered(stacked, empty, weights * scale)[0][:, 0]
        key = choices.tobytes()
        if key not in known:
            known[key] = float(objective(choices))
        return known[key]

    starts = [np.ones(len(names)), *np.eye(len(names))]
    best = max(starts, key=value)
    for step in 0.5 ** np.arange(rounds):
        for place in range(len(names)):
            # The best comes first and is replaced only by a better one.
            steps = [0, *(sign * count for count in range(1, 5) for sign in (1, -1))]
            best = max((best + count * step * np.eye(len(names))[place] for count in steps), key=value)
    return dict(zip(names, (best * scale).tolist(), strict=True)), value(best)


def score_candidates(
    model,
    vocabulary,
    sources: Iterable[str],
    candidates: Iterable[Sequence[str]],
    *,
    source_vocabulary=None,
    batch_tokens: int = 2048,
    compiled: Callable | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """log p of every candidate of every source, by forced decoding: a score for `rerank`.

    Candidates of similar length share a batch, and each source is encoded once per batch. Some thousands of candidates
    are processed at a time, so lists of 1000 for each sentence of a corpus may come from a generator.

    Args:
        model: a model with `encode` and `decode`, see `search`.
        vocabulary: vocabulary of the candidates, and of the sources by default. Must have `tokenize`, `start_id`,
            `end_id`, `pad_id`.
        sources: texts.
        candidates: for each source a list of texts, of any length. An empty text has the end token alone.
        source_vocabulary, batch_tokens, compiled: see `perplexity`.
    Returns:
        `(log_probs, lengths)`: float32 `(B, N)`, N the longest list, in the given order, NaN for unused slots, and
        int32 `(B, N)`, the number of tokens of each candidate, the end token counted, 0 for an unused slot.
    Raises:
        ValueError: if the numbers of lists and sources differ.
        TypeError: for a single string in place of a list.
    """
    for name, given in (("sources", sources), ("candidates", candidates)):
        if isinstance(given, (str, bytes)):
            raise TypeError(f"`{name}` must be a list. Received: {given!r}")
    source_vocabulary = source_vocabulary or vocabulary
    run = forced_pass(model, vocabulary, compiled)
    pads = {"pad_id": vocabulary.pad_id, "source_pad_id": source_vocabulary.pad_id}
    log_probs, lengths = [], []  # one vector per sentence
    for texts, lists in _chunks(sources, candidates):
        targets = with_end(vocabulary, [candidate for each in lists for candidate in each])
        source_of = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
        found = np.zeros(len(targets), "float32")
        ids = with_end(source_vocabulary, texts)
        for rows, values in forced_log_probs(run, targets, ids, source_of, batch_tokens=batch_tokens, **pads):
            found[rows] = values.sum(axis=1, dtype="float64")
        ends = np.cumsum([len(each) for each in lists])[:-1]
        log_probs += np.split(found, ends)
        lengths += np.split(np.array([len(target) for target in targets], "int32"), ends)
    width = max(map(len, log_probs), default=0)
    return _table(log_probs, width, np.nan, "float32"), _table(lengths, width, 0, "int32")


def minimum_bayes_risk(
    candidates: Sequence[str],
    utility: Callable[[str, str], float],
    weights: Sequence[float] | np.ndarray | None = None,
) -> tuple[int, np.ndarray]:
    """Selects the candidate with the highest mean utility: the one that is, on average, most like all of them.

    Each candidate is both a hypothesis and a reference. Equal texts count as often as they occur, and are compared
    once.

    Args:
        candidates: candidates for one sentence, ideally drawn from the model. An n-best list needs `weights`.
        utility: `utility(hypothesis, reference)`, such as chrF of a sentence (higher is better).
        weights: weight of each candidate as a reference, such as its probability (None: equal weights).
    Returns:
        `(best, utilities)`: the index of the best candidate, the first of equals, and float64 `(N,)`, the mean utility
        of each.
    Raises:
        ValueError: if there is no candidate, or the weights are not one non-negative number for each with a positive
            sum.
        TypeError: for a single string in place of a list.
    Source: Kumar and Byrne 2004; with samples, Eikema and Aziz 2020, arXiv:2005.10283.
    """
    if isinstance(candidates, (str, bytes)):
        raise TypeError(f"`candidates` must be a list of strings. Received: {candidates!r}")
    weights = np.ones(len(candidates)) if weights is None else np.asarray(weights, "float64")
    if not len(candidates):
        raise ValueError("`candidates` must hold at least one. Received: none")
    if weights.shape != (len(candidates),) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise ValueError(
            f"`weights` must be {len(candidates)} numbers, one for each candidate, none negative, with a positive sum. "
            f"Received: {weights.tolist()}"
        )
    texts = list(dict.fromkeys(candidates))
    numbers = {text: number for number, text in enumerate(texts)}
    place = [numbers[candidate] for candidate in candidates]
    share = np.bincount(place, weights=weights / weights.sum(), minlength=len(texts))
    # A candidate without weight is not a reference, and needs no comparison.
    references = [(text, weight) for text, weight in zip(texts, share, strict=True) if weight > 0]
    means = np.array([sum(weight * utility(text, other) for other, weight in references) for text in texts])
    utilities = means[place]
    return int(np.argmax(utilities)), utilities


def _stacked(features: Mapping[str, np.ndarray]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """-> names, scores float64 (F, B, N) with 0 in empty slots, and which slots are empty, bool (B, N)."""
    arrays = {name: np.asarray(values, "float64") for name, values in features.items()}
    shapes = {name: values.shape for name, values in arrays.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 2:
        raise ValueError(f"`features` must be arrays of one shape, (sentences, candidates). Received: {shapes}")
    stacked = np.stack(list(arrays.values()))
    if np.isposinf(stacked).any():
        wrong = [name for name, values in arrays.items() if np.isposinf(values).any()]
        raise ValueError(f"A score must be finite, or NaN or -inf for an empty slot. Received: inf in {wrong}")
    empty = ~np.isfinite(stacked).all(axis=0)
    return list(arrays), np.where(empty, 0.0, stacked), empty


def _ordered(stacked: np.ndarray, empty: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = np.where(empty, -np.inf, np.tensordot(weights, stacked, axes=1))  # (B, N)
    return np.argsort(-scores, axis=1, kind="stable"), scores


def _spread(stacked: np.ndarray, real: np.ndarray) -> np.ndarray:
    """The standard deviation of each score between the candidates of a sentence, (F,)."""
    counts = np.maximum(real.sum(-1, keepdims=True), 1)  # (B, 1)
    means = stacked.sum(-1, keepdims=True) / counts  # (F, B, 1); empty slots hold 0
    squares = np.where(real, (stacked - means) ** 2, 0.0)
    return np.sqrt(squares.sum(axis=(1, 2)) / max(real.sum(), 1))


def _chunks(sources: Iterable[str], candidates: Iterable[Sequence[str]]):
    """Whole sentences with about `CHUNK` candidates: lists of sources, and lists of their candidate lists."""
    nothing = object()
    texts, lists, count = [], [], 0
    for number, (text, each) in enumerate(itertools.zip_longest(sources, candidates, fillvalue=nothing)):
        if text is nothing or each is nothing:
            name = "sources" if text is nothing else "candidates"
            raise ValueError(f"There must be one list of candidates for each source. `{name}` ends after {number}")
        if isinstance(each, (str, bytes)):
            raise TypeError(f"`candidates` must have a list of strings for source {number}. Received: {each!r}")
        texts.append(text)
        lists.append(list(each))
        count += len(lists[-1])
        if count >= CHUNK:
            yield texts, lists
            texts, lists, count = [], [], 0
    if texts:
        yield texts, lists


def _table(rows: list[np.ndarray], width: int, fill: float, dtype: str) -> np.ndarray:
    table = np.full((len(rows), width), fill, dtype)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table

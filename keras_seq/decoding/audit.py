"""Audits a model and a search: decodes the same sources in several ways and compares the results."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_seq.decoding.beam import Beam
from keras_seq.decoding.forced_scoring import score
from keras_seq.decoding.generate import generate
from keras_seq.decoding.greedy import Greedy
from keras_seq.decoding.prompting import PromptedModel
from keras_seq.decoding.protocol import Hypotheses
from keras_seq.decoding.search import search

NO_PADDING = -1  # `score` leaves out tokens equal to `pad_id`. Here lengths mark the padding, not ids
MOST_SEQUENCES = 200_000  # limit of an exhaustive search, for each source


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: name of the check.
        ok: whether it passed.
        worst: the worst case, whether or not it is within the tolerance.
    """

    name: str
    ok: bool
    worst: str


@dataclass(frozen=True)
class AuditReport:
    """All checks, printed as a table. `report["order"]` is the check of that name."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def __getitem__(self, name: str) -> Check:
        return {check.name: check for check in self.checks}[name]

    def __str__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        verdicts = {True: "ok", False: "FAILED"}
        return "\n".join(f"{check.name:{width}}  {verdicts[check.ok]:6}  {check.worst}" for check in self.checks)


def audit(
    model,
    sources: Sequence[Sequence[int]],
    *,
    max_length: int,
    start_id: int,
    end_id: int,
    pad_id: int,
    run: Callable = search,
    is_stochastic: bool = False,
    tolerance: float = 1e-4,
    batch_size: int = 16,
    exhaustive_length: int | None = None,
    exhaustive_penalty: Callable | None = None,
    **options,
) -> AuditReport:
    """Decodes the same sources in several ways, and reports where the results differ.

    The checks:

    - "forced score": log p of every hypothesis equals that of forced decoding in one pass.
    - "after the end": only padding follows an end token.
    - "lengths": lengths count the tokens up to the end token.
    - "order": finished before unfinished before empty, each best first.
    - "duplicates": no hypothesis occurs twice.
    - "beam of one": equals greedy search.
    - "alone": a source alone, without padding, has the same result as in a batch.
    - "wider": the results stay the same in batches in reverse order with more padding.
    - "texts": `generate` returns the right result for each of the shuffled texts.
    - "exhaustive", on request: no hypothesis is better than the best possible sequence, and the gap to it.

    If tokens differ and scores do not, rounding has decided between equals. Such ties are counted and do not fail.

    Args:
        model: see `search`, or a language model, for which the sources are prompts.
        sources: ids, without start and end token, of different lengths. Batches keep their order.
        max_length, start_id, end_id, pad_id: see `search`.
        run: the function under audit, called like `search`.
        is_stochastic: whether results are drawn. Order, duplicates and other batches are not checked then.
        tolerance: largest allowed error of log p, in nats, or relative to log p if that is above 1.
        batch_size: number of sources decoded together.
        exhaustive_length: maximum length, the end token counted, of a comparison with all sequences, for tiny
            vocabularies (None: no comparison).
        exhaustive_penalty: length penalty by which the search ranks (None: log p alone).
        options: options of the search, passed to `run` and `generate`. None may have a row for each source.
    Raises:
        ValueError: if there is no source, or an exhaustive search has too many sequences.
    """
    if not len(sources):
        raise ValueError("`sources` must hold at least one. Received: none")
    ids = {"start_id": start_id, "end_id": end_id, "pad_id": pad_id}
    texts = [[int(token) for token in source] for source in sources]
    if hasattr(model, "encode"):
        decoder, sources = model, [[*text, end_id] for text in texts]
    else:
        decoder, sources = PromptedModel(model, pad_id), [[start_id, *text] for text in texts]
    everything = None if exhaustive_length is None else _everything(decoder, sources[0], exhaustive_length, ids)

    def decode(sources, *, extra=0, batch_size=batch_size, max_length=max_length):
        batches = _batches(sources, batch_size, pad_id, extra)
        return _joined([run(decoder, source, max_length=max_length, **ids, **options) for source in batches])

    found = decode(sources)
    forced = np.stack(
        [_forced(decoder, source, *rows, start_id) for source, *rows in zip(sources, *found[:2], strict=True)]
    )

    def forced_alone(row: int, tokens: list[int]) -> float:
        return _forced(decoder, sources[row], np.array([tokens], "int32"), np.array([len(tokens)]), start_id)[0]

    checks = [_scores(found, forced, tolerance), _after_end(found, end_id, pad_id), _lengths(found, end_id)]
    if not is_stochastic:
        alone = decode(sources, batch_size=1)
        wider = Hypotheses(*(x[::-1] for x in decode(sources[::-1], extra=3)))
        one = _one_beam(decoder, sources, batch_size, max_length, ids)
        checks += [
            _order(found, end_id),
            _duplicates(found),
            _same("beam of one", "greedy", "beam", *one, tolerance),
            _same("alone", "in a batch", "alone", found, alone, tolerance),
            _same("wider", "in a batch", "padded wider", found, wider, tolerance),
            _texts(model, _Ids(ids), texts, alone, forced_alone, tolerance, max_length=max_length, **options),
        ]
    if everything is not None:
        short = decode(sources, max_length=exhaustive_length)
        checks.append(_exhaustive(decoder, sources, short, everything, exhaustive_penalty, ids, tolerance))
    return AuditReport(tuple(checks))


def _batches(sources: Sequence[Sequence[int]], batch_size: int, pad_id: int, extra: int = 0):
    """Padded batches (N, S) in the given order, `extra` columns wider than needed."""
    for first in range(0, len(sources), batch_size):
        rows = sources[first : first + batch_size]
        batch = np.full((len(rows), max(map(len, rows)) + extra), pad_id, "int32")
        for row, source in zip(batch, rows, strict=True):
            row[: len(source)] = source
        yield ops.convert_to_tensor(batch)


def _joined(parts: Sequence[Hypotheses]) -> Hypotheses:
    """The parts as NumPy arrays, concatenated."""
    return Hypotheses(
        *(np.concatenate([ops.convert_to_numpy(x) for x in fields]) for fields in zip(*parts, strict=True))
    )


def _forced(model, source: list[int], tokens: np.ndarray, lengths: np.ndarray, start_id: int) -> np.ndarray:
    """log p of R sequences, tokens (R, T), given one source: one pass without caches, -inf where the length is 0."""
    state = model.encode(ops.convert_to_tensor([source], "int32"), max_length=None)
    state = keras.tree.map_structure(lambda x: x if x is None else ops.repeat(x, len(tokens), axis=0), state)
    target = ops.convert_to_tensor(tokens)
    log_probs, _ = score(model.decode, state, target, pad_id=NO_PADDING, start_id=start_id)
    real = np.arange(tokens.shape[1]) < lengths[:, None]
    totals = np.where(real, ops.convert_to_numpy(log_probs), 0.0).sum(axis=1, dtype="float64")
    return np.where(lengths > 0, totals, -np.inf)


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Differences, relative to values above 1. They are 0 between equal infinities, and inf if either is NaN."""
    with np.errstate(invalid="ignore"):
        off = np.abs(one - other) / np.maximum(1.0, np.abs(other))
    return np.where(one == other, 0.0, np.where(np.isnan(off), np.inf, off))


def _where(place: Sequence[int]) -> str:
    return f"source {place[0]}, hypothesis {place[1]}"


def _scores(found: Hypotheses, forced: np.ndarray, tolerance: float) -> Check:
    off = _difference(found.log_probs, forced)
    place = np.unravel_index(off.argmax(), off.shape)
    worst = f"{_where(place)}: returned {found.log_probs[place]:.6f}, forced {forced[place]:.6f}"
    return Check("forced score", bool(off[place] <= tolerance), worst)


def _ends(tokens: np.ndarray, end_id: int) -> np.ndarray:
    """The length up to the first end token, or T without one: (B, R)."""
    is_end = tokens == end_id
    return np.where(is_end.any(-1), is_end.argmax(-1) + 1, tokens.shape[-1])


def _after_end(found: Hypotheses, end_id: int, pad_id: int) -> Check:
    after = np.arange(found.tokens.shape[-1]) >= _ends(found.tokens, end_id)[..., None]  # (B, R, T)
    count = (after & (found.tokens != pad_id)).sum(-1)
    place = np.unravel_index(count.argmax(), count.shape)
    worst = f"{count.size} hypotheses, {int((found.tokens == end_id).any(-1).sum())} with an end token"
    if count.any():
        worst = f"{_where(place)}: {count[place]} more tokens after the end: {found.tokens[place].tolist()}"
    return Check("after the end", not count.any(), worst)


def _lengths(found: Hypotheses, end_id: int) -> Check:
    expected = np.where(found.log_probs > -np.inf, _ends(found.tokens, end_id), 0)
    off = np.abs(found.lengths - expected)
    place = np.unravel_index(off.argmax(), off.shape)
    worst = f"{_where(place)}: returned {found.lengths[place]}, counted {expected[place]}"
    return Check("lengths", not off.any(), worst)


def _order(found: Hypotheses, end_id: int) -> Check:
    finished = (found.tokens == end_id).any(-1)
    kind = np.where(found.log_probs > -np.inf, np.where(finished, 0, 1), 2)  # (B, R)
    same = kind[:, 1:] == kind[:, :-1]
    with np.errstate(invalid="ignore"):
        rise = np.where(same & (kind[:, 1:] < 2), found.scores[:, 1:] - found.scores[:, :-1], 0.0)
    rise = np.where((kind[:, 1:] < kind[:, :-1]) | np.isnan(rise), np.inf, rise)  # (B, R - 1)
    if not rise.size:
        return Check("order", True, "one hypothesis for each source")
    place = np.unravel_index(rise.argmax(), rise.shape)
    worst = f"{_where(place)}: score {found.scores[place]:.6f}, then {found.scores[place[0], place[1] + 1]:.6f}"
    return Check("order", bool(rise[place] <= 0), worst)


def _duplicates(found: Hypotheses) -> Check:
    for b, (rows, lengths) in enumerate(zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)):
        kept = [tuple(row[:length]) for row, length in zip(rows, lengths, strict=True) if length]
        twice = [row for row in kept if kept.count(row) > 1]
        if twice:
            return Check("duplicates", False, f"source {b}: {list(twice[0])} {kept.count(twice[0])} times")
    return Check("duplicates", True, "none")


def _same(name: str, this: str, that: str, one: Hypotheses, other: Hypotheses, tolerance: float) -> Check:
    """Whether two results are the same or, where tokens differ, whether their scores are."""
    equal = (one.tokens == other.tokens).all(-1)  # (B, R)
    off = np.where(equal, _difference(one.log_probs, other.log_probs), _difference(one.scores, other.scores))
    place = np.unravel_index(off.argmax(), off.shape)
    ties = int((~equal & (off <= tolerance)).sum())
    sides = []
    for label, x in ((this, one), (that, other)):
        tokens = "" if equal[place] else f" {x.tokens[place][: x.lengths[place]].tolist()}"
        sides.append(f"{label} {x.log_probs[place]:.6f}{tokens}")
    worst = f"{_where(place)}: {', '.join(sides)}" + (f"; {ties} ties" if ties else "")
    return Check(name, bool(off[place] <= tolerance), worst)


def _one_beam(model, sources, batch_size: int, max_length: int, ids: dict) -> list[Hypotheses]:
    """Greedy search, and beam search with one beam."""
    results = []
    for find in (Greedy(), Beam(num_beams=1, length_penalty=None)):
        parts = []
        for source in _batches(sources, batch_size, ids["pad_id"]):
            state = model.encode(source, max_length=max_length)
            parts.append(find(model.decode, state, batch_size=source.shape[0], max_length=max_length, **ids))
        results.append(_joined(parts))
    return results


class _Ids:
    """A vocabulary whose texts are written-out ids, for `generate`. A result lacks only its padding."""

    def __init__(self, ids: dict):
        self.start_id, self.end_id, self.pad_id = ids["start_id"], ids["end_id"], ids["pad_id"]

    def tokenize(self, texts):
        return _Lists([[int(token) for token in text.split()] for text in texts])

    def detokenize(self, ids):
        texts = []
        for row in np.asarray(ids).tolist():
            length = row.index(self.end_id) + 1 if self.end_id in row else len(row)
            texts.append(" ".join(map(str, row[:length])))
        return _Lists(texts)


class _Lists(list):
    """A list with the two methods of tensors that `generate` calls."""

    def to_list(self):
        return list(self)

    def numpy(self):
        return np.array(self, dtype=object)


def _texts(model, vocabulary, texts, alone: Hypotheses, forced: Callable, tolerance: float, **options) -> Check:
    """Runs `generate` on the shuffled texts, and compares its best results with those of each text alone.

    `forced(row, tokens)` is log p of tokens given the source of that row.
    """
    rows = [row for row, text in enumerate(texts) if text]  # an empty text is not decoded
    rows = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    batch_tokens = 4 * (1 + max(map(len, texts)))  # a few batches
    shuffled = [" ".join(map(str, texts[row])) for row in rows]
    results = generate(model, vocabulary, shuffled, batch_tokens=batch_tokens, **options)
    wrong, ties, worst = 0, 0, f"{len(rows)} shuffled texts, each with the right result"
    for row, result in zip(rows, results, strict=True):
        best = result if isinstance(result, str) else result[0]
        ours, length = [int(token) for token in best.split()], int(alone.lengths[row, 0])
        theirs = alone.tokens[row, 0, :length].tolist()
        if ours == theirs or not length:
            continue
        log_p = forced(row, ours)
        if _difference(np.float64(log_p), alone.log_probs[row, 0]) <= tolerance:
            ties += 1
            continue
        wrong += 1
        worst = f"source {row}: {ours} ({log_p:.6f}), alone {theirs} ({alone.log_probs[row, 0]:.6f})"
    return Check("texts", not wrong, worst + (f"; {ties} ties" if ties else "") + (f"; {wrong} wrong" if wrong else ""))


def _everything(model, source: list[int], length: int, ids: dict) -> tuple[np.ndarray, np.ndarray]:
    """All sequences of at most `length` tokens, the end token last, (N, length), and their lengths (N,)."""
    state = model.encode(ops.convert_to_tensor([source], "int32"), max_length=1)
    V = model.decode(ops.full((1, 1), ids["start_id"], "int32"), state)[0].shape[-1]
    count = sum((V - 1) ** steps for steps in range(length))
    if count > MOST_SEQUENCES:
        raise ValueError(
            f"`exhaustive_length`={length} over V={V} tokens gives {count:,} sequences for each source, more than "
            f"{MOST_SEQUENCES:,}. Take a shorter length or a smaller vocabulary"
        )
    others = [token for token in range(V) if token != ids["end_id"]]
    rows = [(*tokens, ids["end_id"]) for steps in range(length) for tokens in itertools.product(others, repeat=steps)]
    lengths = np.array([len(row) for row in rows])
    return np.array([(*row, *[ids["pad_id"]] * (length - len(row))) for row in rows], "int32"), lengths


def _exhaustive(
    model, sources, found: Hypotheses, everything: tuple, penalty: Callable | None, ids: dict, tolerance: float
) -> Check:
    """Compares the best finished hypothesis of each source with the best possible finished sequence."""
    table, lengths = everything
    divisor = np.array([1.0 if penalty is None else float(penalty(steps + 1)) for steps in range(table.shape[1])])

    gaps = []
    for row, source in enumerate(sources):
        parts = [slice(first, first + 4096) for first in range(0, len(table), 4096)]
        log_probs = [_forced(model, source, table[part], lengths[part], ids["start_id"]) for part in parts]
        best = (np.concatenate(log_probs) / divisor[lengths - 1]).max()
        finished = (found.tokens[row] == ids["end_id"]).any(-1)
        own = found.log_probs[row] / divisor[np.maximum(found.lengths[row], 1) - 1]
        gaps.append(best - np.where(finished, own, -np.inf).max())
    gaps = np.array(gaps)
    place = int(gaps.argmin() if gaps.min() < -tolerance else gaps.argmax())
    none = int(np.isinf(gaps).sum())
    worst = (
        f"the best of {len(table)} sequences for {int((np.abs(gaps) <= tolerance).sum())} of {len(gaps)} sources; "
        f"worst gap {gaps[place]:.6f}, source {place}" + (f"; nothing finished for {none}" if none else "")
    )
    return Check("exhaustive", bool(gaps.min() >= -tolerance), worst)

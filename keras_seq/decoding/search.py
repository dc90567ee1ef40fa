"""From a model and a source to hypotheses, with any search."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from keras_seq.decoding.beam import Beam
from keras_seq.decoding.contrastive import Contrastive
from keras_seq.decoding.coverage_penalty import covered
from keras_seq.decoding.greedy import Greedy
from keras_seq.decoding.growing_caches import GrowingCaches
from keras_seq.decoding.protocol import Hypotheses
from keras_seq.decoding.sampling import Sampling

SEARCHES = {"greedy": Greedy, "beam": Beam, "sampling": Sampling, "contrastive": Contrastive}
_INSTEAD = {  # options of other libraries
    "beam_size": "num_beams",
    "beam_width": "num_beams",
    "num_beam_groups": "num_groups",
    "num_return_sequences": "num_return",
}


def get_search(search: str | Callable = "beam", **options: Any) -> Any:
    """Returns the search for a name and its options, or the given object.

    Args:
        search: a name in `SEARCHES`, or a search object.
        options: fields of the named search.
    Raises:
        ValueError: for an unknown name or option, an option out of its range, or options beside an object.
    """
    if not isinstance(search, str):
        if options:
            raise ValueError(
                "Options need the name of a search. A search object has its options already. "
                f"Received: {search!r} and also {sorted(options)}"
            )
        return search
    if search not in SEARCHES:
        raise ValueError(f"`search` must be one of {sorted(SEARCHES)}, or an object. Received: {search!r}")
    known = [field.name for field in dataclasses.fields(SEARCHES[search])]
    unknown = sorted(set(options) - set(known))
    if unknown:
        advice = "".join(f" Use {_INSTEAD[name]} for {name}." for name in unknown if _INSTEAD.get(name) in known)
        raise ValueError(
            f"search={search!r} has the options {', '.join(known)}. Received: {', '.join(unknown)}.{advice}"
        )
    return SEARCHES[search](**options)


def search(
    model: Any,
    source: Any,
    *,
    max_length: Any,
    start_id: int,
    end_id: int,
    pad_id: int,
    search: str | Callable = "beam",
    constraints: Iterable = (),
    **options: Any,
) -> Hypotheses:
    """Decodes a batch with a model that has `encode` and `decode`.

    Args:
        model: `encode(source, max_length=T) -> state`, a dict of nests of tensors with leading axis B, and
            `decode(tokens (N, 1), state) -> (logits (N, 1, V), state)`, with the same number of rows for each of the B
            sentences. `state["memory"]` must be the same at every step and for all rows of a sentence: it is tiled to N
            rows once and never reordered, or left with B rows if the model sets `shares_memory = True`. Beside an entry
            "position", int `(B,)`, an entry "caches" has room for T steps along axis 2, and may come back to `decode`
            with less (`GrowingCaches`).
        source: input of `encode`: a tensor with leading axis B or a nest of them.
        max_length: T, the end token counted.
        start_id, end_id, pad_id: ints.
        search: "greedy", "beam", "sampling", "contrastive", or an object such as `Beam(num_beams=5)`.
        constraints: constraints on the output, applied one after the other, see `decoding.constraints`.
        options: options of a search given by its name, such as `num_beams=5`.
    Returns:
        `Hypotheses`.
    Raises:
        ValueError: for an option out of its range.
    Example:
        >>> keras.utils.set_random_seed(1)
        >>> model = models.Seq2Seq(20, units=8, num_layers=1, cell="gru")
        >>> source = np.array([[5, 6, 3], [7, 3, 0]])
        >>> ids = {"start_id": 2, "end_id": 3, "pad_id": 0}
        >>> found = decoding.search(model, source, max_length=4, num_beams=3, num_return=2, **ids)
        >>> tuple(found.tokens.shape), tuple(found.scores.shape)  # (sentences, candidates, tokens)
        ((2, 2, 4), (2, 2))
    """
    constraints = tuple(constraints)
    find = get_search(search, **options).simplify(constraints)
    find.check(constraints)
    arguments = {"batch_size": ops.shape(keras.tree.flatten(source)[0])[0], "constraints": constraints}
    arguments |= {"max_length": max_length, "start_id": start_id, "end_id": end_id, "pad_id": pad_id}
    asked = {"attention_weights": True} if find.coverage_penalty else {}
    asked |= {"hidden_states": True} if find.hidden_states else {}
    state = dict(model.encode(source, max_length=max_length + find.lookahead, **asked))
    caches = GrowingCaches(state)
    state = caches.cut(state)
    if find.hidden_states:
        arguments["context"] = state.pop("context", None)
    unchanging = {name: part for name, part in state.items() if name == "memory"}
    changing = _tiled({name: part for name, part in state.items() if name != "memory"}, find.rows_per_example)
    if not getattr(model, "shares_memory", False):
        unchanging = _tiled(unchanging, find.rows_per_example)

    def step(tokens, changing):
        logits, state = model.decode(tokens, {**caches.grown(changing), **unchanging})
        return logits, {name: state[name] for name in changing}

    if find.coverage_penalty:
        padding = ops.repeat(source == getattr(model, "pad_id", pad_id), find.rows_per_example, axis=0)
        step, changing, arguments["bonus"] = covered(step, changing, padding, find.coverage_penalty)
    return find(step, changing, **arguments)


def _tiled(state, width):
    """A state with each row repeated `width` times, side by side."""
    return keras.tree.map_structure(lambda x: x if x is None or width == 1 else ops.repeat(x, width, axis=0), state)


def search_with_vocabulary(model, vocabulary, source, *, max_length=None, **options):
    """`search` with the ids of a vocabulary, and a default `max_length` of twice the padded source length plus 10.

    Used by both `generate` and exported models.

    Args:
        vocabulary: vocabulary of the target.
        source: int `(B, S)`, with the end token, padded to `padded_width`.
        max_length: maximum length, the end token counted (None: the default).
        options: options of `search`.
    """
    return search(
        model,
        source,
        max_length=2 * ops.shape(source)[1] + 10 if max_length is None else max_length,
        start_id=vocabulary.start_id,
        end_id=vocabulary.end_id,
        pad_id=vocabulary.pad_id,
        **options,
    )

"""Section 3.8, figure 2: the vector of a sentence, by its word order and its voice."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_seq import tasks
from keras_seq.decoding.generate import padded
from keras_seq.decoding.perplexity import with_end
from keras_seq.inspection import plots, representations

from .finding import AGREES, DIFFERS, PARTLY, Finding
from .members import Member, members
from .systems import Systems, mean_and_spread

# Those whose words the vocabulary has are used.
ACTORS = ("Tom", "Mary", "a man", "a woman", "a boy", "a girl", "a dog")
VERBS = ("watching", "following", "helping", "pulling", "pushing", "chasing", "holding", "teaching", "hitting")
DRAWN = 3  # verbs
SENSITIVE = 0.1  # share of the distance to another verb above which the order of words counts


class Triple(NamedTuple):
    """A sentence, the same in the passive voice, and the sentence with its actors exchanged."""

    active: str
    passive: str
    exchanged: str


def needed(options: Any) -> list[Member]:
    return members("reversed", options.seeds)


def check(systems: Systems) -> Finding:
    orders, voices, verbs, nearer = [], [], [], []
    for member in systems.trained(members("reversed", systems.options.seeds)):
        task = systems.task(member)
        triples = sentences(task)
        active, passive, exchanged = (_vectors(task, [each[side] for each in triples]) for side in range(3))
        order, voice = _distances(active, exchanged), _distances(active, passive)
        orders.append(order.mean())
        voices.append(voice.mean())
        verbs.append(_between_verbs(triples, active))
        nearer.append(100 * (voice < order).mean())
    _draw(systems.task(Member("reversed", 1)), systems.folder / "plots" / "sentence_vectors.png")
    right = [np.mean(orders) > SENSITIVE * np.mean(verbs), np.mean(voices) < np.mean(orders)]
    return Finding(
        "sentence_vectors",
        "Vectors of sentences",
        "The vectors are sensitive to the order of words, and fairly insensitive to the voice (figure 2).",
        ("", "mean"),
        [
            ("cosine distance to the sentence with exchanged actors", mean_and_spread(orders)),
            ("to the sentence in the passive voice", mean_and_spread(voices)),
            ("to the sentence with another verb", mean_and_spread(verbs)),
            ("sentences whose passive is nearer than the exchanged one, %", mean_and_spread(nearer)),
        ],
        AGREES if all(right) else PARTLY if any(right) else DIFFERS,
        f"{len(triples)} sentences such as “{triples[0].active}”, their passives such as “{triples[0].passive}”, and "
        "those with the actors exchanged. A bag of words has distance 0 to the exchanged sentence.",
        "sentence_vectors.png",
    )


def sentences(task: tasks.Translation) -> list[Triple]:
    """The sentences that the vocabulary has all words of."""
    triples = []
    for verb in VERBS:
        for one, other in itertools.permutations(ACTORS, 2):
            triple = Triple(_active(one, verb, other), _passive(one, verb, other), _active(other, verb, one))
            if _known(task, triple):
                triples.append(triple)
    if not triples:
        raise ValueError(
            f"The source vocabulary lacks words of every sentence of {', '.join(ACTORS)} and {', '.join(VERBS)}. Leave "
            "out the finding sentence_vectors."
        )
    return triples


def _active(actor: str, verb: str, other: str) -> str:
    return _begun(f"{actor} is {verb} {other} .")


def _passive(actor: str, verb: str, other: str) -> str:
    participles = {"teaching": "taught", "holding": "held", "hitting": "hit", "chasing": "chased"}
    return _begun(f"{other} is {participles.get(verb, verb.removesuffix('ing') + 'ed')} by {actor} .")


def _begun(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _known(task: tasks.Translation, texts: Sequence[str]) -> bool:
    unknown = task.source_vocabulary.unknown_id
    return not any(unknown in row for row in task.source_vocabulary.tokenize(list(texts)).to_list())


def _vectors(task: tasks.Translation, texts: Sequence[str]) -> np.ndarray:
    words = task.source_vocabulary
    ids = padded(with_end(words, texts), words.pad_id)
    return representations.sentence_vectors(task.model, ids)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine distances of rows."""
    return 1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def _between_verbs(triples: Sequence[Triple], active: np.ndarray) -> float:
    """The mean distance of sentences with the same actors and different verbs."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, triple in enumerate(triples):
        groups.setdefault(tuple(word for word in triple.active.split() if word not in VERBS), []).append(row)
    pairs = np.array([pair for rows in groups.values() for pair in itertools.combinations(rows, 2)])
    return float(_distances(active[pairs[:, 0]], active[pairs[:, 1]]).mean()) if len(pairs) else float("nan")


def _actors(triple: Triple) -> set[str]:
    return set(triple.active.lower().split()) - set(VERBS)


def _draw(task: tasks.Translation, path: Any) -> None:
    """Draws the sentences of two actors and a few verbs, in both orders and voices."""
    triples = sentences(task)
    chosen = [each for each in triples if _actors(each) == _actors(triples[0])][: 2 * DRAWN]
    texts = [text for each in chosen for text in (each.active, each.passive)]
    first = chosen[0].active.split(" is ")[0]
    groups = [f"{first} acts" if each.active.startswith(first) else "the other acts" for each in chosen for _ in "ap"]
    points, variance = representations.project(_vectors(task, texts))
    plots.sentence_map(points, path, texts=texts, groups=groups, variance=variance)

"""Synthetic tagging: sentences of invented words whose tags follow from their endings and their neighbors.

    the   slithous  brill  wants  to    gimbles  that   toves  .
    DET   ADJ       NOUN   VERB   ...

    they  brill  to    the  tove  .              brill is a verb, to a preposition
    the   brill  wants to   brill .              brill is a noun, then a verb; to is a particle

Nouns and verbs share their stems and their "-s". The word before determines the tag. The tags of "to" and "that" depend
on the next word. Adjectives, adverbs and some nouns are marked by their endings, names by capital letters. Validation
and test text have stems that are not in the training text, so that a list of words does not help. The spelling and both
neighbors determine every tag.
"""

from __future__ import annotations

import random

from keras_seq.lazy import data

ONSETS = ["b", "br", "d", "f", "fl", "g", "gr", "k", "m", "n", "p", "pl", "r", "sl", "t", "tr", "v", "w", "z"]
NUCLEI = ["a", "e", "i", "o", "oo", "ee"]
CODAS = ["b", "ck", "d", "g", "ll", "m", "mp", "n", "nd", "p", "rk", "rt", "t", "v"]
STEMS = {"train": 400, "valid": 100, "test": 100}

Tagged = list[tuple[str, str]]


class Grammar:
    """Draws sentences.

    Args:
        stems: stems of nouns, verbs, adjectives, adverbs and names.
        draw: random number generator.
    """

    def __init__(self, stems: list[str], draw: random.Random):
        self.stems, self.draw = stems, draw

    def sentence(self) -> Tagged:
        return [*self._clause(), (self.draw.choice(".!"), "PUNCT")]

    def _clause(self, depth: int = 0) -> Tagged:
        """A subject and a predicate. `depth` limits the nesting of clauses."""
        chance = self.draw.random()
        if chance < 0.25:
            subject, verb = [(self.draw.choice(["they", "we", "you"]), "PRON")], self._stem()
        elif chance < 0.5:
            subject, verb = self._nouns(), f"{self._stem()}s"
        elif chance < 0.7:
            subject, verb = [(self._stem().capitalize(), "PROPN")], f"{self._stem()}s"
        else:
            subject, verb = self._nouns(plural=True), self._stem()
        return [*subject, *self._maybe(self._adverb), (verb, "VERB"), *self._complement(depth)]

    def _complement(self, depth: int) -> Tagged:
        chance = self.draw.random()
        if chance < 0.2:
            return self._maybe(self._adverb)
        if chance < 0.5:
            return [*self._nouns(plural=self.draw.random() < 0.5), *self._maybe(self._adverb)]
        if chance < 0.65:
            return [(self.draw.choice(["to", "in", "with"]), "ADP"), *self._nouns()]
        if chance < 0.85 or depth:
            return [("to", "PART"), (self._stem(), "VERB"), *self._maybe(self._nouns)]
        return [("that", "SCONJ"), *self._clause(depth + 1)]

    def _nouns(self, plural: bool = False) -> Tagged:
        article = self.draw.choice(["these", "some"] if plural else ["the", "a", "that"])
        noun = self._stem() + ("s" if plural else self.draw.choice(["", "", "", "ness", "or"]))
        return [(article, "DET"), *self._maybe(self._adjective), (noun, "NOUN")]

    def _adjective(self) -> Tagged:
        return [(self._stem() + self.draw.choice(["ous", "ful", "ish"]), "ADJ")]

    def _adverb(self) -> Tagged:
        return [(f"{self._stem()}ly", "ADV")]

    def _stem(self) -> str:
        return self.draw.choice(self.stems)

    def _maybe(self, part) -> Tagged:
        return part() if self.draw.random() < 0.35 else []


def stems(draw: random.Random) -> dict[str, list[str]]:
    """Stems for "train", "valid" and "test", none in two of them."""
    drawn: list[str] = []
    while len(drawn) < sum(STEMS.values()):
        stem = draw.choice(ONSETS) + draw.choice(NUCLEI) + draw.choice(CODAS)
        if draw.random() < 0.3:
            stem += draw.choice(NUCLEI) + draw.choice(CODAS)
        if stem not in drawn:
            drawn.append(stem)
    ends = [sum(list(STEMS.values())[:place]) for place in range(len(STEMS) + 1)]
    return {part: drawn[ends[place] : ends[place + 1]] for place, part in enumerate(STEMS)}


def tagged_text(size: int = 2_000, held_out_size: int = 300, seed: int = 0) -> dict[str, data.TaggedText]:
    """Sentences for "train", "valid" and "test"."""
    draw = random.Random(seed)
    parts = {}
    for part, split_stems in stems(draw).items():
        grammar = Grammar(split_stems, draw)
        sentences = [grammar.sentence() for _ in range(size if part == "train" else held_out_size)]
        words, tags = ([[pair[side] for pair in sentence] for sentence in sentences] for side in (0, 1))
        parts[part] = data.TaggedText(words, tags, data.TagReport(len(words), len(words), sum(map(len, words))))
    return parts

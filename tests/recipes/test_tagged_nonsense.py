"""The generated sentences: their tags follow from endings and neighbors alone, and the parts share no stem."""

import random

from recipes.synthetic import tagged_nonsense

CLOSED = {"they": "PRON", "we": "PRON", "you": "PRON", ".": "PUNCT", "!": "PUNCT", "in": "ADP", "with": "ADP"}
CLOSED |= dict.fromkeys(("the", "a", "these", "some"), "DET")
ENDINGS = {"ly": "ADV", "ous": "ADJ", "ful": "ADJ", "ish": "ADJ", "ness": "NOUN"}


def tags_by_rule(words):
    """What whoever looks at spelling, at the words before and at the next one can know."""
    tags = []
    for place, word in enumerate(words):
        after = words[place + 1] if place + 1 < len(words) else ""
        before = [tag for tag in tags if tag not in ("ADJ", "ADV")]
        ending = next((tag for ending, tag in ENDINGS.items() if word.endswith(ending)), None)
        if word in CLOSED:
            tags.append(CLOSED[word])
        elif word == "to":
            tags.append("ADP" if after in ("the", "a", "that") else "PART")
        elif word == "that":
            opens = after in CLOSED and after not in (".", "!") or after == "that" or after[:1].isupper()
            tags.append("SCONJ" if opens else "DET")
        elif word[0].isupper():
            tags.append("PROPN")
        elif ending:
            tags.append(ending)
        else:
            tags.append("NOUN" if before and before[-1] == "DET" else "VERB")
    return tags


def test_every_tag_can_be_known():
    parts = tagged_nonsense.tagged_text(2_000, 300, seed=1)
    for part in parts.values():
        for words, tags in zip(part.words, part.tags, strict=True):
            assert tags_by_rule(words) == tags, " ".join(words)
    assert len(parts["train"].tag_names) == 11


def test_words_alone_do_not_tell():
    found = {}
    for sentence in (parts := tagged_nonsense.tagged_text(2_000, 10))["train"].words, parts["train"].tags:
        found.setdefault("sides", []).append([token for row in sentence for token in row])
    tags_of = {}
    for word, tag in zip(*found["sides"], strict=True):
        tags_of.setdefault(word, set()).add(tag)
    assert tags_of["to"] == {"ADP", "PART"} and tags_of["that"] == {"DET", "SCONJ"}
    ambiguous = sum(tags == {"NOUN", "VERB"} for tags in tags_of.values())
    assert ambiguous > 400  # stems, and stems with an s


def test_parts_share_no_stem():
    found = tagged_nonsense.stems(random.Random(3))
    assert len({stem for part in found.values() for stem in part}) == sum(tagged_nonsense.STEMS.values())


def test_the_same_seed_draws_the_same():
    one, same, other = (tagged_nonsense.tagged_text(50, 10, seed) for seed in (1, 1, 2))
    assert one["test"].words == same["test"].words != other["test"].words

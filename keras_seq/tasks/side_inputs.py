"""Inputs of a search besides the text of each example."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_seq.tasks.results import Failure
from keras_seq.tasks.search_options import get_search

NAMES = ("prefix", "force")


class SideInputs:
    """Inputs besides the text, for a search in a graph: the number of each input (for a stochastic search), the
    beginning of the output, and the terms that it must contain.

    An input is a text, or a tuple of the text, its number from 0 as a string, and one string for each of `names`: the
    prefix, or terms separated by tabs.

    Args:
        names: some of "prefix" and "force", in this order.
        options: options of the search.
        vocabulary: vocabulary of the output.
        default: search that the options modify.
    """

    def __init__(self, names: Sequence[str], options: Mapping[str, Any], vocabulary: Any, default: Any = None):
        self.vocabulary, self._files = vocabulary, list(names)
        unknown = [name for name in names if name not in NAMES]
        if unknown:
            raise ValueError(f"`side_inputs` must be some of {', '.join(NAMES)}. Received: {', '.join(unknown)}")
        asked = {**options, **({"force": True} if "force" in names else {})}
        drawn = get_search(asked, default).is_stochastic
        self.names = ["number"] * drawn + self._files

    def read(self, items: list) -> tuple[list[str], list[Any]]:
        """Texts, or tuples of texts -> the texts, and a dict with each text and its side inputs, or a `Failure`."""
        rows = [item if isinstance(item, tuple) else (item, str(place)) for place, item in enumerate(items)]
        beside: list[Any] = [{"text": row[0], "number": int(row[1])} for row in rows]
        for place, name in enumerate(self._files, 2):
            # A prefix is a single phrase, possibly empty. Terms may be several.
            texts = [[row[place]] if name == "prefix" else row[place].split("\t") for row in rows]
            for row, own in enumerate(self._phrases(name, texts)):
                if isinstance(beside[row], Failure):
                    continue
                beside[row] = own if isinstance(own, Failure) else beside[row] | {name: own}
        return [row[0] for row in rows], beside

    def _phrases(self, name: str, texts: list[list[str]]) -> list[list[list[int]] | Failure]:
        flat = [text for some in texts for text in some]
        ids = iter(self.vocabulary.tokenize(flat).to_list() if flat else [])
        found: list[list[list[int]] | Failure] = []
        for some in texts:
            pairs = [(text, next(ids)) for text in some]
            unknown = [text for text, phrase in pairs if self.vocabulary.unknown_id in phrase]
            beside = Failure(f"`{name}`: not all of {unknown[0][:80]!r} is in the vocabulary") if unknown else None
            found.append(beside or [phrase for _, phrase in pairs if phrase])
        return found

    def signature(self) -> list:
        """The specs of the tensors that `tensors` returns."""
        import tensorflow as tf

        ranks = {"number": 1, "prefix": 2, "force": 3}
        return [tf.TensorSpec([None] * ranks[name], tf.int32) for name in self.names]

    def tensors(self, beside: list[dict]) -> list:
        """The side inputs of a batch, as tensors."""
        import numpy as np
        import tensorflow as tf

        from keras_seq import decoding

        found = []
        for name in self.names:
            values = [own[name] for own in beside]
            if name == "number":
                found.append(np.array(values, "int32"))
                continue
            # (B, C, L). Prefixes have (B, 1, P), or (B, 0, 0) if all are empty
            padded = decoding.padded_phrases(values, self.vocabulary.pad_id)
            found.append(padded if name == "force" else padded.reshape(len(values), -1))
        return [tf.constant(x) for x in found]

    def applied(self, search: Any, tensors: list) -> tuple[Any, list]:
        """The search and the constraints for the examples of a batch."""
        from keras_seq import decoding

        beside, constraints = dict(zip(self.names, tensors, strict=True)), []
        if "number" in beside:
            search = search.for_examples(beside["number"])
        if "prefix" in beside:
            constraints.append(decoding.Prefix(beside["prefix"], self.vocabulary.pad_id))
        if "force" in beside:
            constraints.append(decoding.RequiredPhrases(beside["force"], self.vocabulary.pad_id))
        return search, constraints

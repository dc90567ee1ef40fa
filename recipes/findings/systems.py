"""Trained members and ensembles of them, and what they made of the texts: each output is computed once and kept."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import keras_seq
from keras_seq import comparison, data, decoding, scores, tasks
from keras_seq.training import atomic_write

from .members import Member

BATCH_TOKENS = 4096


class Systems:
    """The members in a folder, and files of their outputs.

    Args:
        options: options of the recipe.
        parts: the data by split. The outputs are those for "test" or, without one, for "valid".
    Attributes:
        folder: folder of the findings.
        split: name of the split.
        test: its text.
        task: function from a member to its task, opened from its run folder.
    """

    def __init__(self, options: Any, parts: Mapping[str, data.ParallelText]):
        self.options, self.parts, self.folder = options, parts, pathlib.Path(options.run)
        self.split = "test" if "test" in parts else "valid"
        self.test = parts[self.split]
        self.task = functools.lru_cache(maxsize=8)(self._open)
        self._digest = data.fingerprint(self.test)[:8]

    def record(self, member: Member) -> comparison.CellRecord:
        """The record of a member's training."""
        return comparison.read_cell(self.folder / member.folder)

    def trained(self, members: Sequence[Member]) -> list[Member]:
        """Those of the members whose training ended with a score."""
        return [member for member in members if self.record(member).status == "done"]

    def translator(self, members: Sequence[Member]) -> tasks.Translation:
        """A member, or an ensemble of members, as a task."""
        first = self.task(members[0])
        if len(members) == 1:
            return first
        model = decoding.Ensemble([self.task(member).model for member in members])
        return tasks.Translation(
            model, first.vocabulary, first.source_vocabulary, max_length=first.max_length, search=first.search
        )

    def perplexity(self, member: Member) -> float:
        """The perplexity of the references of the split."""

        def measure():
            task = self.task(member)
            vocabularies = {"source_vocabulary": task.source_vocabulary, "compiled": _compiled()}
            sides = {"sources": self.test.sources, "batch_tokens": BATCH_TOKENS}
            found = decoding.perplexity(task.model, task.vocabulary, self.test.targets, **sides, **vocabularies)
            return found.perplexity

        return self.kept(f"perplexity-{_name([member])}", measure)

    def translations(self, members: Sequence[Member], num_beams: int) -> list[str]:
        """The translations of the split."""
        return [texts[0] for texts, _ in self.candidates(members, num_beams, 1)]

    def candidates(self, members: Sequence[Member], num_beams: int, count: int) -> list[tuple[list[str], list[float]]]:
        """The best translations of each text, best first, and their log-probabilities."""

        def translate():
            asked = {"num_beams": num_beams, "num_return": count, "batch_tokens": BATCH_TOKENS}
            found = self.translator(members).details(self.test.sources, **asked, max_source_length=10**6)
            return [(row.texts, row.log_probs) for row in found]

        return self.kept(f"{_name(members)}-beam-{num_beams}-best-{count}", translate)

    def bleu(self, members: Sequence[Member], num_beams: int) -> float:
        """BLEU of the translations, 0 to 100. An unknown word is wrong."""
        return self.score(self.translations(members, num_beams))

    def score(self, translations: Sequence[str]) -> float:
        return scores.bleu(translations, self.test.targets, "none").value

    def log_probs(self, members: Sequence[Member], name: str, candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """log p of given candidates `(texts, N)`, NaN for unused places.

        Args:
            name: name of the candidates, for the file.
        """

        def measure():
            task = self.translator(members)
            found, _ = decoding.score_candidates(
                task.model,
                task.vocabulary,
                self.test.sources,
                candidates,
                source_vocabulary=task.source_vocabulary,
                batch_tokens=BATCH_TOKENS,
                compiled=_compiled(),
            )
            return [[None if np.isnan(value) else float(value) for value in row] for row in found]

        kept = self.kept(f"{_name(members)}-of-{name}", measure)
        return np.array(kept, "float64")  # None becomes NaN

    def _open(self, member: Member) -> tasks.Translation:
        return keras_seq.load(self.folder / member.folder)

    def kept(self, name: str, make: Any) -> Any:
        """The JSON value of a file or, at the first time, that of the function, which is written to the file."""
        path = self.folder / "outputs" / f"{self.split}-{self._digest}-{name}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            print(f"{name}: computed once, kept in {path}", flush=True)
            value = make()
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))


def significance(baseline: Sequence[str], better: Sequence[str], references: Sequence[str]) -> float:
    """The p-value of the difference in BLEU, by sacreBLEU's paired bootstrap (Koehn 2004) with 1,000 samples."""
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    systems = [("baseline", list(baseline)), ("system", list(better))]
    test = PairedTest(systems, {"BLEU": BLEU(tokenize="none", force=True)}, [list(references)], "bs", 1000)
    return test()[1]["BLEU"][1].p_value


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean of the seeds, and the standard deviation between them."""
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}" if len(values) else "-"


def _name(members: Sequence[Member]) -> str:
    return "+".join("-".join(member.folder.parts) for member in members)


def _compiled() -> Any:
    import tensorflow as tf

    return functools.partial(tf.function, autograph=False, reduce_retracing=True)

"""A folder that `export.ctranslate2` wrote, as a task of translation."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_seq.tasks.batching import Limits, too_long
from keras_seq.tasks.results import Failure, Generated
from keras_seq.tasks.run_folder import load_vocabulary

LONGEST = 256  # tokens of a translation, as in CTranslate2


class CTranslate2Task:
    """Translates with CTranslate2, which makes batches itself.

    Args:
        folder: the folder, with `model.bin` and the vocabularies.
    Raises:
        ImportError: if the package ctranslate2 is not installed.
        ValueError: if there is no vocabulary, or the model is damaged.
    """

    name, verb, rank, model = "translation", "translate", None, None
    options = ("num_beams", "num_return", "alpha", "max_length")

    def __init__(self, folder: pathlib.Path):
        try:
            import ctranslate2
        except ImportError as error:
            raise ImportError(
                f"{folder} needs the extra `ctranslate2`: pip install 'keras-seq[ctranslate2]'"
            ) from error

        self.where = str(folder)
        self.source_vocabulary, self.vocabulary = (self._vocabulary(folder, side) for side in ("source", "target"))
        self._numbers = {piece: i for i, piece in enumerate(self.vocabulary.pieces(range(self.vocabulary.size)))}
        self._end = self.vocabulary.pieces([self.vocabulary.end_id])[0]
        try:
            self._translator = ctranslate2.Translator(str(folder), device="cpu")
        except RuntimeError as error:
            raise ValueError(f"{folder} is damaged: {error}. Export it again.") from error

    @staticmethod
    def _vocabulary(folder: pathlib.Path, side: str) -> Any:
        endings = (".spm", ".words", ".characters", ".bytes")
        files = [folder / f"{name}{ending}" for name in (side, "shared") for ending in endings]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            raise ValueError(f"{folder} has no vocabulary, as export.ctranslate2 writes it. Export it again.")
        return load_vocabulary(found)

    def predictor(
        self,
        *,
        batch_tokens: int = 2048,
        max_source_length: int = 1000,
        num_beams: int = 5,
        num_return: int = 1,
        alpha: float = 1.0,
        max_length: int = LONGEST,
    ) -> Callable[[Sequence[str]], list]:
        """Returns a function from texts to a `Generated` or `Failure` for each.

        Args:
            batch_tokens, max_source_length: see `tasks.batching.Limits`.
            num_beams, num_return, max_length: as for other tasks.
            alpha: exponent of the length, the divisor of the scores.
        Raises:
            ValueError: for a number out of its range.
        """
        if not 1 <= num_return <= num_beams:
            raise ValueError(f"`num_return` must be from 1 to `num_beams` {num_beams}. Received: {num_return}")
        if max_length < 1:
            raise ValueError(f"`max_length` must be at least 1. Received: {max_length}")
        limits = Limits(batch_tokens, max_source_length)

        def run(texts: Sequence[str]) -> list:
            rows = self.source_vocabulary.tokenize(list(texts)).to_list() if texts else []
            results: list[Any] = [Generated([""], [0.0], [0.0], [True]) for _ in rows]
            for place, row in enumerate(rows):
                if len(row) + 1 > limits.max_source_length:
                    results[place] = too_long(len(row) + 1, limits)
            some = [place for place, row in enumerate(rows) if row and not isinstance(results[place], Failure)]
            found = self._translator.translate_batch(
                [self.source_vocabulary.pieces(rows[place]) for place in some],
                **{"beam_size": num_beams, "num_hypotheses": num_return, "length_penalty": alpha},
                **{"max_decoding_length": max_length, "min_decoding_length": 0, "max_input_length": 0},
                **{"max_batch_size": batch_tokens, "batch_type": "tokens"},
                return_scores=True,
                return_end_token=True,
            )
            for place, result in zip(some, found, strict=True):
                results[place] = self._generated(result, alpha)
            return results

        return run

    def _generated(self, result: Any, alpha: float) -> Generated:
        pieces = result.hypotheses
        finished = [row[-1:] == [self._end] for row in pieces]
        texts = [self._text(row) for row in pieces]
        lengths = [max(1, len(row)) for row in pieces]
        log_probs = [score * length**alpha for score, length in zip(result.scores, lengths, strict=True)]
        return Generated(texts, list(result.scores), log_probs, finished)

    def _text(self, pieces: Sequence[str]) -> str:
        ids = [self._numbers[piece] for piece in pieces if piece != self._end]
        if not ids:
            return ""
        (line,) = np.asarray(self.vocabulary.detokenize(np.array([ids], "int32"))).tolist()
        return line.decode("utf-8", "replace")

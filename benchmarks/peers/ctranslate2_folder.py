"""CTranslate2 as a program of `benchmarks.decoding`, on a model folder that `export.ctranslate2` has written.

`--variant` is the type that it computes in. The end token's score is forbidden by the model's own weights; its beam
search drops nothing before `max_decoding_length`.
"""

import json
import pathlib

import ctranslate2
from turns import serve


def prepare(num_beams, options):
    scratch = pathlib.Path(options.scratch)
    pieces = json.loads((scratch / "pieces.json").read_text())
    translator = ctranslate2.Translator(
        str(scratch / "ctranslate2"),
        device="cpu",
        compute_type=options.variant,
        inter_threads=1,
        intra_threads=1,
    )

    def decode(ids, lengths):
        # Without the end tokens, which the library adds.
        sources = [[pieces[i] for i in row[: length - 1]] for row, length in zip(ids, lengths, strict=True)]
        found = translator.translate_batch(
            sources,
            beam_size=num_beams,
            num_hypotheses=num_beams,
            max_decoding_length=options.max_length,
        )
        return [[len(hypothesis) for hypothesis in each.hypotheses] for each in found]

    return decode


serve(f"CTranslate2 {ctranslate2.__version__}", prepare)

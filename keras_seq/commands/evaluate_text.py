"""Scores of texts: BLEU, chrF and exact match of lines, and perplexity of running text."""

import math
import pathlib
from typing import Any

from keras_seq.commands.evaluate import Evaluate, Scores, as_trained, one_file
from keras_seq.commands.line_inputs import with_side_inputs
from keras_seq.commands.lines import STDIN, check_files, each_line, lines
from keras_seq.commands.options import replacement
from keras_seq.commands.search_options import files_beside, named_flags, search_options
from keras_seq.commands.text_columns import check_tables
from keras_seq.commands.translate import CutOff, translator
from keras_seq.tasks.results import Failure

STREAMS = 16  # parallel streams of a text with a carried state; few, as each starts without context
ROWS = 128  # blocks in a batch


def score_lines(options: Evaluate) -> Scores:
    """Scores of hypotheses, or of the translations of --source, against references line by line. A line without a
    result counts as an empty hypothesis."""
    references, hypotheses = _sides(options)
    compared = options.source if options.model else hypotheses or STDIN
    check_files([references, compared, *files_beside(options)], options.output)
    check_tables([references, compared], remedy="Give the texts of its column, a line each.")
    check_tokenizer(options.tokenize)

    expected = [line for line in lines([references]) if line is not None]
    texts = _translated(options) if options.model else _gathered(lines([compared]), options.chunk, lambda texts: texts)
    if len(expected) != len(texts):
        raise ValueError(
            f"{references} has {len(expected):,} lines, {'stdin' if compared == STDIN else compared} "
            f"{len(texts):,}. Each line must have its reference on the same line."
        )
    bad = [line for line in expected if line.text is None]
    if bad:
        raise ValueError(f"{bad[0].place}: {bad[0].why}. Fix the references: a line without one cannot be scored.")
    if not expected:
        raise ValueError(f"{references} has no line to compare.")
    return _scores(options, [line.text for line in expected], texts)


def _sides(options: Evaluate) -> tuple[pathlib.Path, pathlib.Path | None]:
    """The file of references and, without a model, the file of hypotheses (None: stdin)."""
    if bool(options.model) != (options.source is not None):
        raise ValueError("--source requires --model, which translates it.")
    if not options.files or len(options.files) > 2:
        raise ValueError(
            "Name the file of references and the file of hypotheses, or --model and files with references. "
            f"Received: {' '.join(map(str, options.files)) or 'no file'}"
        )
    references, *hypotheses = options.files
    if options.model and hypotheses:
        raise ValueError(f"--model generates the hypotheses. Leave {hypotheses[0]} out, or leave --model out.")
    needless = [*named_flags(options), *(["--replace-unknown"] if options.replace_unknown else [])]
    if not options.model and needless:
        raise ValueError(f"{', '.join(needless)}: without --model there is no search. Leave it out.")
    return references, (hypotheses or [None])[0]


def score_pairs(options: Evaluate, task: Any) -> Scores:
    """Scores of a translator on a table of sources and targets."""
    from keras_seq import data

    check_tokenizer(options.tokenize)
    path = one_file(options)
    if not path.name.removesuffix(".gz").endswith((".tsv", ".csv")):
        raise ValueError(
            f"{path} is not a .tsv or .csv file of sources and targets. Give one, or pass the source text with "
            "--source and the references as the file."
        )
    pairs = data.read_pairs(path)
    limits = {**options.limits, **search_options(options)}
    results = task.predictor(replace_unknown=replacement(options), **limits)(list(pairs.sources))
    texts = ["" if isinstance(result, Failure) else result.texts[0] for result in results]
    return _scores(options, pairs.targets, texts)


def check_tokenizer(name: str) -> None:
    """Raises an error for a tokenizer that sacreBLEU does not have, or cannot use here."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise ImportError("BLEU and chrF need sacreBLEU: pip install keras-seq[recipes]") from None
    if name not in BLEU.TOKENIZERS:
        raise ValueError(f"--tokenize must be one of {', '.join(map(str, BLEU.TOKENIZERS))}. Received: {name}")
    from keras_seq import scores

    scores.bleu(["a"], ["a"], name)  # fails here, not after hours of translation


def _translated(options: Evaluate) -> list[str]:
    cut_off = CutOff()
    compute = cut_off.counting(translator(options, options.model, replace_unknown=replacement(options)))

    def best(texts):
        return [result if isinstance(result, Failure) else result.texts[0] for result in compute(texts)]

    hypotheses = _gathered(with_side_inputs(lines([options.source]), options), options.chunk, best)
    cut_off.print_summary()
    return hypotheses


def _gathered(items, chunk: int, compute) -> list[str]:
    hypotheses: list[str] = []

    def write(number: int, result: str | Failure) -> None:
        hypotheses.append("" if isinstance(result, Failure) else result)

    each_line((item for item in items if item is not None), chunk, compute, write, lambda: None)
    return hypotheses


def _scores(options: Evaluate, references: list[str], hypotheses: list[str]) -> Scores:
    from keras_seq import scores

    bleu = scores.bleu(hypotheses, references, options.tokenize, options.lowercase)
    chrf = scores.chrf(hypotheses, references)
    exact = scores.exact_match(hypotheses, references)
    record = {"bleu": bleu.value, "chrf": chrf.value, "exact_match": exact, "lines": len(references)}
    record["signatures"] = {"bleu": bleu.signature, "chrf": chrf.signature}
    rows = [
        ("BLEU", f"{bleu.value:.2f}", bleu.signature),
        ("chrF", f"{chrf.value:.2f}", chrf.signature),
        ("exact match", f"{exact:.2%}", f"{len(references):,} lines"),
    ]
    return Scores(record, rows)


def score_running_text(options: Evaluate, task: Any) -> Scores:
    """Nats per token, perplexity and bits per character of a language model."""
    from keras_seq import data

    if getattr(task, "model", None) is None or not hasattr(task.model, "initial_state"):
        raise ValueError(f"{task.where} is a SavedModel, which returns no probabilities. Give the run folder.")
    read = as_trained(options, task, documents="file", block=64, architecture="")
    documents = _documents(options, read["documents"])
    ids = data.token_ids(documents, task.vocabulary, end_last=read["documents"] == "line")
    characters = sum(len(text) + 1 for text in documents) - (read["documents"] == "file")
    rows, record = [], {"tokens": len(ids), "characters": characters}
    for context, nats in _nats(task, ids, read).items():
        bits = nats * len(ids) / characters / math.log(2)
        record[context] = {"nats_per_token": nats, "perplexity": math.exp(nats), "bits_per_character": bits}
        rows += [(context, "nats per token", f"{nats:.4f}"), (context, "perplexity", f"{math.exp(nats):.3f}")]
        rows += [(context, "bits per character", f"{bits:.4f}")]
    return Scores(record, rows, ("", f"{len(ids):,} tokens, {characters:,} characters"))


def _documents(options: Evaluate, unit: str) -> list[str]:
    """The documents, each a file or a line, read in the same way as by the recipe."""
    from keras_seq import data

    documents = data.read_text(list(options.files)).documents
    if unit == "line":
        documents = [line.rstrip("\r") for text in documents for line in text.split("\n") if line.strip()]
    if sum(map(len, documents)) < 2:
        raise ValueError(f"{options.files[0]} has no text to measure. Give more.")
    return documents


def _nats(task: Any, ids: Any, read: dict[str, Any]) -> dict[str, float]:
    """Mean loss of a token: in blocks and, for a model with a recurrent state, with the state carried along."""
    import numpy as np
    import tensorflow as tf

    from keras_seq import data, decoding

    measure = decoding.TokenLosses(task.model, compiled=tf.function(reduce_retracing=True))
    cut = {"length": read["block"], "start_id": task.vocabulary.start_id}
    batches = {f"blocks of {read['block']}": data.blocks(ids, ROWS, **cut)}
    if task.model.streams is not None:
        batches = {"state carried": data.streams(ids, min(STREAMS, len(ids)), **cut), **batches}
    return {context: float(np.nanmean(measure(some))) for context, some in batches.items()}

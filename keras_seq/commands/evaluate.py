"""`keras-seq evaluate`: BLEU, chrF and exact match."""

import dataclasses
import pathlib
import sys

from keras_seq.cli import option, table
from keras_seq.commands.line_inputs import with_side_inputs
from keras_seq.commands.options import HELP, SEVERAL, SHARES, LineOptions, UnknownOptions, replacement
from keras_seq.commands.search_options import LineSearchOptions, files_beside, given
from keras_seq.commands.streams import STDIN, Writer, check_files, each_line, lines
from keras_seq.commands.text_columns import check_tables
from keras_seq.commands.translate import CutOff, translator
from keras_seq.tasks.results import Failure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(UnknownOptions, LineSearchOptions, LineOptions):
    """Compares hypotheses, or what a model makes of a source, with references, line by line. A line without a result
    counts as an empty hypothesis."""

    references: pathlib.Path = option(help="plain or .gz; -: stdin", positional=True)
    hypotheses: pathlib.Path | None = option(None, "plain or .gz (default: stdin)", positional=True)
    model: tuple[pathlib.Path, ...] = option((), f"in place of hypotheses: {HELP}; {SEVERAL}", repeated=True)
    model_weight: tuple[float, ...] = option((), SHARES, repeated=True)
    source: pathlib.Path | None = option(None, "what the model translates")
    tokenize: str = option("13a", "sacreBLEU's tokenizer; none for text that is tokenized already")
    lowercase: bool = option(False, "BLEU without case")


def evaluate(options: Evaluate) -> None:
    options.check()
    if bool(options.model) != (options.source is not None):
        raise ValueError("--model and --source go together: the model translates the source.")
    if options.model and options.hypotheses is not None:
        raise ValueError(f"--model makes the hypotheses: leave {options.hypotheses} out, or leave --model out.")
    needless = [*given(options), *(["--replace-unknown"] if options.replace_unknown else [])]
    if not options.model and needless:
        raise ValueError(f"{', '.join(needless)}: without --model nothing is searched for. Leave it out.")
    compared = options.source if options.model else options.hypotheses or STDIN
    check_files([options.references, compared, *files_beside(options)], options.output)
    check_tables([options.references, compared], remedy="Give the texts of its column, a line each.")
    _check_tokenizer(options.tokenize)

    references = [line for line in lines([options.references]) if line is not None]
    hypotheses = _translated(options) if options.model else _read(compared, options.chunk)
    if len(references) != len(hypotheses):
        raise ValueError(
            f"{options.references} has {len(references):,} lines, {'stdin' if compared == STDIN else compared} "
            f"{len(hypotheses):,}. They must belong together line by line."
        )
    bad = [line for line in references if line.text is None]
    if bad:
        raise ValueError(f"{bad[0].place}: {bad[0].why}. Mend the references: what is missing there cannot be scored.")
    _report(options, [line.text for line in references], hypotheses)


def _check_tokenizer(name: str) -> None:
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise ImportError('BLEU and chrF need sacreBLEU: pip install "keras-seq[recipes]"') from None
    if name not in BLEU.TOKENIZERS:
        raise ValueError(f"--tokenize must be one of {', '.join(map(str, BLEU.TOKENIZERS))}. Received: {name}")
    from keras_seq import scores

    scores.bleu(["a"], ["a"], name)  # now, and not after hours of translating


def _read(path: pathlib.Path, chunk: int) -> list[str]:
    return _gathered(lines([path]), chunk, lambda texts: texts)


def _translated(options: Evaluate) -> list[str]:
    told = CutOff()
    compute = told.counting(translator(options, options.model, replace_unknown=replacement(options)))

    def best(texts):
        return [found if isinstance(found, Failure) else found.texts[0] for found in compute(texts)]

    hypotheses = _gathered(with_side_inputs(lines([options.source]), options), options.chunk, best)
    told.tell()
    return hypotheses


def _gathered(items, chunk: int, compute) -> list[str]:
    hypotheses: list[str] = []

    def write(number: int, result: str | Failure) -> None:
        hypotheses.append("" if isinstance(result, Failure) else result)

    each_line((item for item in items if item is not None), chunk, compute, write, lambda: None)
    return hypotheses


def _report(options: Evaluate, references: list[str], hypotheses: list[str]) -> None:
    from keras_seq import scores

    if not references:
        raise ValueError(f"{options.references} has no line to compare.")
    bleu = scores.bleu(hypotheses, references, options.tokenize, options.lowercase)
    chrf = scores.chrf(hypotheses, references)
    exact = scores.exact_match(hypotheses, references)
    with Writer(options.output) as writer:
        if options.json:
            writer.record(
                bleu=bleu.value,
                chrf=chrf.value,
                exact_match=exact,
                lines=len(references),
                signatures={"bleu": bleu.signature, "chrf": chrf.signature},
            )
            return
        rows = [
            ("BLEU", f"{bleu.value:.2f}", bleu.signature),
            ("chrF", f"{chrf.value:.2f}", chrf.signature),
            ("exact match", f"{exact:.2%}", f"{len(references):,} lines"),
        ]
        for line in table(rows, numbers=False):
            writer(line)
    if options.output is not None:
        print(f"written to {options.output}", file=sys.stderr)

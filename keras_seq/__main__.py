"""The command line: `keras-seq VERB ...`, or `python -m keras_seq VERB ...`.

A verb is a dataclass of options and a function, both in `keras_seq/commands/`, and an entry in `VERBS`. A verb's
function imports its dependencies itself, so that help is fast: importing TensorFlow takes seconds.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from keras_seq import __version__, cli
from keras_seq.commands import (
    certify,
    classify,
    compare,
    doctor,
    evaluate,
    export,
    forecast,
    inspect,
    replay,
    rerank,
    score,
    serve,
    tag,
    transcribe,
    translate,
    tune,
)
from keras_seq.commands.output import exit_cleanly
from keras_seq.quiet import start_quietly

EXAMPLE = 'echo "four hundred and six" | keras-seq translate --model runs/translation'


class Verb(NamedTuple):
    """A verb, `keras-seq NAME`: its line in the list of verbs, its dataclass of options, and its function of them."""

    line: str
    options: type
    function: Callable[[Any], None]


VERBS = {
    "translate": Verb("translation of lines", translate.Translate, translate.translate),
    "classify": Verb("class of each line", classify.Classify, classify.classify),
    "tag": Verb("tag of each word of each line", tag.Tag, tag.tag),
    "forecast": Verb("forecast of the next rows of a series", forecast.Forecast, forecast.forecast),
    "transcribe": Verb("transcript of recordings", transcribe.Transcribe, transcribe.transcribe),
    "generate": Verb("continuation of each line by a language model", translate.Generate, translate.generate),
    "score": Verb("log-probabilities and perplexity of lines", score.Score, score.score),
    "rerank": Verb("n-best lists in the order of a weighted sum of scores", rerank.Rerank, rerank.rerank),
    "evaluate": Verb(
        "scores of a model of any task, or of hypotheses, against references", evaluate.Evaluate, evaluate.evaluate
    ),
    "serve": Verb("models behind a port: a page, JSON, and TensorFlow Serving's requests", serve.Serve, serve.serve),
    "inspect": Verb("contents of a run folder or a SavedModel", inspect.Inspect, inspect.inspect),
    "certify": Verb(
        "proof that an output depends on its sequence alone, not on padding, batch, replicas or export",
        certify.Certify,
        certify.certify,
    ),
    "replay": Verb(
        "diagnosis of a training step with a NaN or an infinity, which a run has saved", replay.Replay, replay.replay
    ),
    "average": Verb("mean of a run's last checkpoints, as a model", export.Average, export.average),
    "export": Verb("a run folder's model as SavedModel, LiteRT, ONNX or CTranslate2", export.Export, export.export),
    "doctor": Verb(
        "analysis of a corpus before training: lengths, padding, suggested buckets", doctor.Doctor, doctor.doctor
    ),
}


RECIPES = {
    "translation": "translation of sentences",
    "language_model": "continuation of text",
    "sentiment": "class of each text",
    "tagging": "tag of each word",
    "forecasting": "next rows of a time series",
    "speech": "words of a recording",
    "video": "class of each clip, or its next frames",
    "music": "next notes of a piano roll",
    "memory": "answers from memory, and the number of steps it lasts",
    "sutskever2014": "translation as in Sutskever et al. 2014, and a check of its findings",
}


# Verbs of recipes, `keras-seq VERB NAME ...`: the line in the list of verbs, and a sentence for the help.
OF_RECIPES = {
    "train": (
        "training, evaluation and export of a model by a recipe",
        "Trains a model: on synthetic data, or on yours.",
    ),
    "tune": ("search for better options of a recipe", "Searches for better options of a recipe with KerasTuner."),
    "compare": (
        "comparison of all architectures on the task of a recipe",
        "Compares architectures on one task (memory, if none is named), each at its best learning rate of a grid.",
    ),
}
NOT_COMPARED = ("translation", "speech", "video", "sutskever2014")


def run_recipe(verb: str, argv: Sequence[str]) -> None:
    """Runs `keras-seq train NAME ...`, a recipe as `python -m recipes.NAME ...` does in a checkout, `keras-seq tune
    NAME ...`, a search for its options, or `keras-seq compare NAME ...`, a comparison of its architectures."""
    name, *others = list(argv) or [""]
    if verb == "compare" and (not name or name.startswith("-")) and name not in ("-h", "--help"):
        name, others = "memory", list(argv)
    known = {name: line for name, line in RECIPES.items() if verb != "compare" or name not in NOT_COMPARED}
    if name in ("-h", "--help"):
        recipes = "\n".join(cli.table([(f"  {name}", line) for name, line in known.items()], numbers=False))
        print(f"usage: keras-seq {verb} NAME ...\n\n{OF_RECIPES[verb][1]}\n")
        print(f"recipes:\n{recipes}\n\nkeras-seq {verb} NAME --help lists the options of a recipe.")
        return
    if name not in known:
        message = f"there is no recipe {name!r}" if name else "the name of a recipe is missing"
        message = f"the recipe {name!r} cannot be compared" if name in RECIPES else message
        print(f"error: {message}. The recipes are: {', '.join(known)}.", file=sys.stderr)
        sys.exit(2)
    module = importlib.import_module(f"keras_seq.recipes.{name}")
    if verb == "train":
        cli.run(module.main, module.Options, others, prog=f"keras-seq train {name}")
        return
    function, options_of = {
        "tune": (tune.tune, tune.tune_options),
        "compare": (compare.compare, compare.compare_options),
    }[verb]
    cli.run(functools.partial(function, module=module), options_of(module), others, prog=f"keras-seq {verb} {name}")


def _help() -> str:
    lines = [(f"  {verb}", line) for verb, (line, _) in OF_RECIPES.items()]
    lines += [(f"  {name}", verb.line) for name, verb in VERBS.items()]
    verbs = "\n".join(cli.table(lines, numbers=False))
    return (
        "usage: keras-seq VERB ...\n\nSequence models on Keras 3.\n\nverbs:\n"
        f"{verbs}\n\nkeras-seq VERB --help lists the options of a verb, keras-seq --version prints the version.\n\n"
        f"example, after `make demo` or `keras-seq train translation`:\n  {EXAMPLE}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the verb that the command line names. A user error prints one line and exits with code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # bytes are shown for a file name that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    name, *others = list(sys.argv[1:] if argv is None else argv) or [""]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(f"keras-seq {__version__}")
    elif name in OF_RECIPES:
        run_recipe(name, others)
    elif name in VERBS:
        start_quietly()
        cli.run(exit_cleanly(VERBS[name].function), VERBS[name].options, others, prog=f"keras-seq {name}")
    else:
        message = f"there is no verb {name!r}" if name else "a verb is missing"
        print(
            f"error: {message}. The verbs are: {', '.join([*OF_RECIPES, *VERBS])}. keras-seq --help describes them.",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()

"""`keras-seq certify`: checks that a model's output for a sequence depends on nothing but that sequence."""

import dataclasses
import json
import math
import pathlib
import sys
from typing import Any

from keras_seq.cli import option, table
from keras_seq.commands.options import HELP
from keras_seq.commands.progress import Progress
from keras_seq.tasks.results import finite
from keras_seq.tasks.run_folder import is_saved_model

FORMATS = ("saved_model", "onnx", "ctranslate2")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certify:
    """Draws random sequences and compares a model's outputs for each of them in two settings: with other neighbors,
    in another order, with more padding, in another batch, alone. A run folder is also compared on several replicas
    and after export."""

    model: pathlib.Path = option(help=HELP)
    cases: int = option(200, "number of cases, of all kinds in turn")
    seed: int = option(0, "random seed of the cases")
    tolerance: float = option(1e-5, "largest difference of two numbers, relative to the largest output beyond 1")
    case: int | None = option(None, "number of the one case to replay and show")
    longest: int | None = option(
        None, "greatest number of steps of a sequence (default: 16, of a waveform 4,000 samples, of a clip 6 frames)"
    )
    max_length: int = option(12, "greatest number of output tokens of a search, the end token counted")
    replicas: int = option(2, "run folder: number of devices that a batch is split over (1: no such cases)")
    formats: tuple[str, ...] = option(FORMATS, "run folder: exports that are compared", choices=FORMATS)
    text: pathlib.Path | None = option(None, "SavedModel that takes text: file of words to draw from")
    ids: int | None = option(None, "SavedModel that takes ids: number of ids (default: 10)")
    json: pathlib.Path | None = option(None, "file for the table as one JSON object")


def certify(options: Certify) -> None:
    from keras_seq.inspection import certify as inspection

    _check(options)
    with _adapter(options) as (adapter, left_out):
        if options.case is not None:
            case = inspection.tried(adapter, options.seed, options.case)
            print("\n".join(inspection.shown(case, options.seed, most=60)))
            sys.exit(int(not case.difference <= options.tolerance))
        progress = Progress("cases") if sys.stderr is not None and sys.stderr.isatty() else None
        settings = {"cases": options.cases, "seed": options.seed, "tolerance": options.tolerance}
        result = inspection.certify(adapter, **settings, **({"progress": progress} if progress else {}))
        if progress:
            progress.close()
    _print_report(options, result, left_out)
    if options.json is not None:
        options.json.write_text(json.dumps(_record(options, result, left_out), indent=1) + "\n", encoding="utf-8")
    sys.exit(int(not result.ok))


RANGES = {
    "cases": (1, 10_000_000),
    "seed": (0, 2**62),
    "case": (0, 2**62),
    "tolerance": (0, math.inf),
    "longest": (1, 1_000_000),
    "max_length": (1, 1_000),
    "replicas": (1, 64),
    "ids": (2, 2**31 - 1),
}


def _check(options: Certify) -> None:
    for name, (least, most) in RANGES.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"--{name.replace('_', '-')} must be from {least} to {most}. Received: {value}")
    if options.json is not None and not options.json.parent.is_dir():
        raise FileNotFoundError(f"{options.json.parent}, the folder of --json, does not exist. Make it first.")
    if options.json is not None and options.json.is_dir():
        raise IsADirectoryError(f"--json {options.json} is a folder. Name a file.")
    flags = [flag for flag in ("text", "ids") if getattr(options, flag) is not None]
    if flags and not is_saved_model(options.model):
        raise ValueError(f"--{flags[0]} requires a SavedModel: a run folder has its vocabulary. Leave it out.")


def _adapter(options: Certify) -> Any:
    """A context manager of the adapter, and the reason for each kind of case that is left out."""
    if is_saved_model(options.model):
        from keras_seq.commands.certified_served import adapter_of_saved_model
        from keras_seq.tasks.saved_model import SavedModelTask

        return adapter_of_saved_model(SavedModelTask(options.model), options)
    from keras_seq import distribution
    from keras_seq.commands.certified import adapter_of_run

    if options.replicas > 1:
        distribution.divide_cpu(options.replicas)  # must come before any computation
    from keras_seq.tasks.loading import load_run

    return adapter_of_run(load_run(options.model, "keras-seq certify"), options)


def _print_report(options: Certify, result: Any, left_out: dict[str, str]) -> None:
    from keras_seq.inspection import certify as inspection

    print("\n".join(table(result.cells())))
    for kind, reason in left_out.items():
        print(f"Left out: {kind}. {reason}")
    if not result.varied:
        print("The outputs are the same for all sequences, so nothing was compared. Give another model.")
    if result.smallest is not None:
        print("\nThe smallest case that failed:", *inspection.shown(result.smallest, options.seed), sep="\n")
        print(
            f"In full: keras-seq certify --model {options.model} --seed {options.seed} --case {result.smallest.number}"
        )


def _record(options: Certify, result: Any, left_out: dict[str, str]) -> dict[str, Any]:
    rows = finite([dataclasses.asdict(row) for row in result.rows])
    return {
        "model": str(options.model),
        "seed": options.seed,
        "tolerance": options.tolerance,
        "ok": result.ok,
        "varied": result.varied,
        "cases": result.cases,
        "failures": result.failures,
        "kinds": rows,
        "left_out": left_out,
        "smallest": None if result.smallest is None else result.smallest.number,
    }

"""Shared parts of the recipes: common flags, setup of a run, training and reporting.

A recipe reads top to bottom: data, model, compile, fit, evaluate, export. It calls these functions in that order.
Nothing here calls a recipe. The modules are imported at the first use, since most of them load TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers
    from keras_seq.experiment.attention import draw_alignment, draw_attention
    from keras_seq.experiment.batching import batches
    from keras_seq.experiment.budget import learning_rate, training_data
    from keras_seq.experiment.clips import frame_batches, frames_of, read_clips
    from keras_seq.experiment.folds import cross_validate
    from keras_seq.experiment.hypermodel import RecipeHyperModel
    from keras_seq.experiment.labeled_text import LabeledTextFlags, hold_out_last
    from keras_seq.experiment.options import Options, preset, with_defaults
    from keras_seq.experiment.parallel_text import ParallelTextFlags
    from keras_seq.experiment.preparation import (
        data_folder,
        initialize,
        recurrent_dropout,
        run_folder,
        setup,
        vocabulary,
        with_data,
        word_vectors,
    )
    from keras_seq.experiment.recipe_trainer import RecipeTrainer
    from keras_seq.experiment.reporting import (
        confusions,
        data_name,
        finish,
        record,
        report,
        report_by_label,
        samples,
        write_rows,
    )
    from keras_seq.experiment.results import Result
    from keras_seq.experiment.series import draw_forecasts, find_csv, find_season, forecast_windows
    from keras_seq.experiment.tagged_text import TaggedTextFlags, divide_tagged, usual_tags
    from keras_seq.experiment.training import adamw, fit

_HOME = {
    "LabeledTextFlags": "labeled_text",
    "Options": "options",
    "ParallelTextFlags": "parallel_text",
    "RecipeHyperModel": "hypermodel",
    "RecipeTrainer": "recipe_trainer",
    "Result": "results",
    "TaggedTextFlags": "tagged_text",
    "adamw": "training",
    "batches": "batching",
    "confusions": "reporting",
    "cross_validate": "folds",
    "data_folder": "preparation",
    "data_name": "reporting",
    "divide_tagged": "tagged_text",
    "draw_alignment": "attention",
    "draw_attention": "attention",
    "draw_forecasts": "series",
    "find_csv": "series",
    "find_season": "series",
    "finish": "reporting",
    "fit": "training",
    "forecast_windows": "series",
    "frame_batches": "clips",
    "frames_of": "clips",
    "hold_out_last": "labeled_text",
    "initialize": "preparation",
    "learning_rate": "budget",
    "preset": "options",
    "read_clips": "clips",
    "record": "reporting",
    "recurrent_dropout": "preparation",
    "report": "reporting",
    "report_by_label": "reporting",
    "run_folder": "preparation",
    "samples": "reporting",
    "setup": "preparation",
    "training_data": "budget",
    "usual_tags": "tagged_text",
    "vocabulary": "preparation",
    "with_data": "preparation",
    "with_defaults": "options",
    "word_vectors": "preparation",
    "write_rows": "reporting",
}
__all__ = [
    "LabeledTextFlags",
    "Options",
    "ParallelTextFlags",
    "RecipeHyperModel",
    "RecipeTrainer",
    "Result",
    "TaggedTextFlags",
    "adamw",
    "batches",
    "confusions",
    "cross_validate",
    "data_folder",
    "data_name",
    "divide_tagged",
    "draw_alignment",
    "draw_attention",
    "draw_forecasts",
    "find_csv",
    "find_season",
    "finish",
    "fit",
    "forecast_windows",
    "frame_batches",
    "frames_of",
    "hold_out_last",
    "initialize",
    "learning_rate",
    "preset",
    "read_clips",
    "record",
    "recurrent_dropout",
    "report",
    "report_by_label",
    "run_folder",
    "samples",
    "setup",
    "training_data",
    "usual_tags",
    "vocabulary",
    "with_data",
    "with_defaults",
    "word_vectors",
    "write_rows",
]

if not TYPE_CHECKING:  # for which a wrong name is an error

    def __getattr__(name: str):
        if name in _HOME:
            return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

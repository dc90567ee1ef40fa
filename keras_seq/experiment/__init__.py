"""Shared parts of the recipes: common flags, setup of a run, training and reporting.

A recipe reads top to bottom: data, model, compile, fit, evaluate, export. It calls these functions in that order.
Nothing here calls a recipe. The modules are imported at the first use, since most of them load TensorFlow.
"""

import importlib

_HOME = {
    "LabeledTextFlags": "labeled_text",
    "Options": "options",
    "ParallelTextFlags": "parallel_text",
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
    "learning_rate": "training",
    "preset": "options",
    "read_clips": "clips",
    "record": "reporting",
    "report": "reporting",
    "report_by_label": "reporting",
    "run_folder": "preparation",
    "samples": "reporting",
    "setup": "preparation",
    "usual_tags": "tagged_text",
    "vocabulary": "preparation",
    "with_data": "preparation",
    "with_defaults": "options",
    "word_vectors": "preparation",
    "write_rows": "reporting",
}
__all__ = [*_HOME]  # noqa: PLE0604


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

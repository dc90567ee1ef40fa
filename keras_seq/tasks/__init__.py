"""Tasks: a model with its preprocessing (vocabulary, scaler, front end) and its postprocessing (search, labels).

A task maps raw inputs to raw outputs. Python, the command line, recipes and exports use the same object. `load` opens
one. Modules that need TensorFlow are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers
    from keras_seq.tasks.classification import Classification
    from keras_seq.tasks.forecasting import Forecasting
    from keras_seq.tasks.generation import Generation
    from keras_seq.tasks.loading import find_task, load
    from keras_seq.tasks.results import (
        Attention,
        Classified,
        Failure,
        Forecast,
        Generated,
        Outputs,
        Scored,
        Tagged,
        Transcript,
    )
    from keras_seq.tasks.samples import SAMPLES
    from keras_seq.tasks.saved_model import SavedModelTask
    from keras_seq.tasks.tagging import Tagging
    from keras_seq.tasks.task import Task
    from keras_seq.tasks.tensors import Tensors
    from keras_seq.tasks.transcription import Transcription
    from keras_seq.tasks.translation import Translation

_HOME = {
    "SAMPLES": "samples",
    "Attention": "results",
    "Classification": "classification",
    "Classified": "results",
    "Failure": "results",
    "Forecast": "results",
    "Forecasting": "forecasting",
    "Generated": "results",
    "Generation": "generation",
    "Outputs": "results",
    "SavedModelTask": "saved_model",
    "Scored": "results",
    "Tagged": "results",
    "Tagging": "tagging",
    "Task": "task",
    "Tensors": "tensors",
    "Transcript": "results",
    "Transcription": "transcription",
    "Translation": "translation",
    "find_task": "loading",
    "load": "loading",
}
__all__ = [
    "SAMPLES",
    "Attention",
    "Classification",
    "Classified",
    "Failure",
    "Forecast",
    "Forecasting",
    "Generated",
    "Generation",
    "Outputs",
    "SavedModelTask",
    "Scored",
    "Tagged",
    "Tagging",
    "Task",
    "Tensors",
    "Transcript",
    "Transcription",
    "Translation",
    "find_task",
    "load",
]

_INSTEAD = {  # names of other libraries, and names that come to mind
    "Classifier": "Classification",
    "Forecaster": "Forecasting",
    "Generator": "Generation",
    "LanguageModel": "Generation",
    "Pipeline": "load, or the task of a model: Translation, Classification, ...",
    "Recognizer": "Transcription",
    "Speech": "Transcription",
    "Tagger": "Tagging",
    "TextClassification": "Classification",
    "TextGeneration": "Generation",
    "Translator": "Translation",
    "pipeline": "load, or the task of a model: Translation, Classification, ...",
}

if not TYPE_CHECKING:  # for which a wrong name is an error

    def __getattr__(name: str):
        if name in _HOME:
            return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        advice = f". Use {_INSTEAD[name]}" if name in _INSTEAD else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

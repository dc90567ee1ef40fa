"""Tasks: a model with what stands before it (vocabulary, scaler, front end) and after it (search, labels).

Raw inputs in, raw outputs out: the same object for Python, for the command line, for recipes and for exports. `load`
opens one. What needs TensorFlow is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers
    from keras_seq.tasks.classification import Classification
    from keras_seq.tasks.forecasting import Forecasting
    from keras_seq.tasks.generation import Generation
    from keras_seq.tasks.loading import find_task, load
    from keras_seq.tasks.results import Classified, Failure, Forecast, Generated, Outputs, Scored, Tagged, Transcript
    from keras_seq.tasks.samples import SAMPLES
    from keras_seq.tasks.saved_model import SavedModelTask
    from keras_seq.tasks.tagging import Tagging
    from keras_seq.tasks.task import Task
    from keras_seq.tasks.tensors import Tensors
    from keras_seq.tasks.transcription import Transcription
    from keras_seq.tasks.translation import Translation

_HOME = {
    "SAMPLES": "samples",
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

if not TYPE_CHECKING:  # for which a wrong name is an error

    def __getattr__(name: str):
        if name in _HOME:
            return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

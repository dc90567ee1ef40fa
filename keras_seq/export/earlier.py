"""Calls from before tasks held their models, such as `export.saved_model(model, folder, export.Tensors())`. They leave
with the other names of that time, before the first release."""

import functools
from typing import Any

KINDS = ("Classification", "Forecasting", "Generation", "Tagging", "Tensors", "Transcription", "Translation")


class Unbound:
    """The arguments of a task, without its model."""

    def __init__(self, kind: str, *arguments: Any, **options: Any):
        self.kind, self.arguments, self.options = kind, arguments, options


def unbound(kind: str) -> Any:
    """The function from the arguments of a task to an `Unbound`."""
    return functools.partial(Unbound, kind)


def bound(model: Any, task: Any, **options: Any) -> Any:
    """The task of a model.

    Args:
        task: `Unbound`, or a vocabulary, with options of the task that it stands for.
    """
    from keras_seq import tasks

    if isinstance(task, Unbound):
        return getattr(tasks, task.kind)(model, *task.arguments, **task.options)
    return tasks.find_task(model, task, **options)
